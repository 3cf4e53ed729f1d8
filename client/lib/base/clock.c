/* SPDX-License-Identifier: MIT */
/* See clock.h. */
#include "client/lib/base/clock.h"

#include <time.h>

uint64_t clock_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_deadline_ns(int timeout_ms)
{
    if (timeout_ms < 0)
        return CLOCK_NO_DEADLINE;
    if (timeout_ms == 0)
        return 0;
    return clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}
