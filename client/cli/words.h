/* SPDX-License-Identifier: MIT */
/*
 * The words of tables and JSON for the library's enumerations.
 */
#ifndef BLKD_CLI_WORDS_H
#define BLKD_CLI_WORDS_H

#include <stdbool.h>

#include "client/blkd.h"

const char *words_access(enum blkd_access access);
const char *words_caching(bool direct);
const char *words_discard(enum blkd_discard_method discard);
const char *words_happening(enum blkd_happening_what what);
const char *words_holder(enum blkd_holder_kind kind);
const char *words_kind(enum blkd_device_kind kind);
const char *words_lost(enum blkd_lost_reason reason);
const char *words_lock(enum blkd_lock_mode lock);
const char *words_mode(bool read_write);
const char *words_sync(enum blkd_sync sync);
const char *words_tier(bool ring);

/* NULL: there is none. */
const char *words_reason(enum blkd_reason reason);

#endif
