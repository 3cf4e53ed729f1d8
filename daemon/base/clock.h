/* SPDX-License-Identifier: MIT */
/* What time it is. Any thread; none of these blocks or fails. */
#ifndef BLKD_DAEMON_BASE_CLOCK_H
#define BLKD_DAEMON_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC_COARSE in milliseconds: cheap, and accurate to a few of them. */
uint64_t clock_ms(void);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t clock_ns(void);

/* The wall clock in milliseconds since 1970, accurate to a few of them. */
uint64_t clock_unix_ms(void);

#endif
