/* SPDX-License-Identifier: MIT */
/*
 * Texts of a message, copied one behind the other into memory that was allocated for all of them.
 */
#ifndef BLKD_CLIENT_LIB_BASE_TEXTS_H
#define BLKD_CLIENT_LIB_BASE_TEXTS_H

#include <stddef.h>

/* Copies `length` bytes and a NUL to *position and moves it behind them; returns the copy. */
const char *texts_put(char **position, const void *bytes, size_t length);

#endif
