/* SPDX-License-Identifier: MIT */
/* See clock.h. */
#include "client/lib/base/clock.h"

uint64_t clock_deadline_ns(int timeout_ms)
{
    if (timeout_ms < 0)
        return CLOCK_NO_DEADLINE;
    if (timeout_ms == 0)
        return 0;
    return clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}
