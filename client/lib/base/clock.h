/* SPDX-License-Identifier: MIT */
/*
 * Deadlines on the monotonic clock. Pure but for reading it.
 */
#ifndef BLKD_CLIENT_LIB_BASE_CLOCK_H
#define BLKD_CLIENT_LIB_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NO_DEADLINE UINT64_MAX

enum {
    NS_PER_MS = 1000000,
    NS_PER_S = 1000000000,
};

uint64_t clock_now_ns(void);

/* When a timeout that begins now ends. -1: CLOCK_NO_DEADLINE; 0: a deadline that has passed. */
uint64_t clock_deadline_ns(int timeout_ms);

#endif
