/* SPDX-License-Identifier: MIT */
/*
 * Deadlines on the monotonic clock. Pure but for reading it.
 */
#ifndef BLKD_CLIENT_LIB_BASE_CLOCK_H
#define BLKD_CLIENT_LIB_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NO_DEADLINE UINT64_MAX

enum {
    NS_PER_MS = 1000000,
    NS_PER_S = 1000000000,
};

/* Inline: a thread that polls reads it all the time. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* When a timeout that begins now ends. -1: CLOCK_NO_DEADLINE; 0: a deadline that has passed. */
uint64_t clock_deadline_ns(int timeout_ms);

#endif
