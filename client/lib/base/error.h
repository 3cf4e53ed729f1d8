/* SPDX-License-Identifier: MIT */
/*
 * The message that goes with an error: one for each thread, of its last failed call.
 */
#ifndef BLKD_CLIENT_LIB_BASE_ERROR_H
#define BLKD_CLIENT_LIB_BASE_ERROR_H

#include "client/blkd.h"

enum { ERROR_MESSAGE_MAX = 1024 };

/* Sets the calling thread's message. */
void error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Afterwards: what stood in the way, which error_set takes for unknown. */
void error_set_reason(enum blkd_reason reason);

/* error_set, and its value is `error`, a negative errno. A macro, so that the compiler sees a
 * failure where there is one. */
#define error_report(error, ...) (error_set(__VA_ARGS__), (error))

#endif
