/* SPDX-License-Identifier: MIT */
#include "daemon/base/clock.h"

#include <time.h>

static uint64_t clock_read_ms(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_ms(void)
{
    return clock_read_ms(CLOCK_MONOTONIC_COARSE);
}

uint64_t clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t clock_unix_ms(void)
{
    return clock_read_ms(CLOCK_REALTIME_COARSE);
}
