/* SPDX-License-Identifier: MIT */
/* Time as one number. */
#ifndef BLKD_BENCH_CLOCK_H
#define BLKD_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { NS_PER_SECOND = 1000000000 };

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    (void)clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

#endif
