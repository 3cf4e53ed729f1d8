/* SPDX-License-Identifier: MIT */
#include "daemon/busypoll.h"

enum {
    BUSYPOLL_PROBE_FIRST = 16,
    BUSYPOLL_PROBE_MAX = 4096,
    /* Two looks at the clock this far apart, with nothing found: another thread had this CPU in
       between. */
    BUSYPOLL_GAP_NS = 15000,
};

void busypoll_init(struct busypoll *poll, uint32_t max_us)
{
    *poll = (struct busypoll){
        .max_us = max_us,
        .budget_us = max_us,
        .probe_after = BUSYPOLL_PROBE_FIRST,
    };
}

bool busypoll_begin(struct busypoll *poll, uint64_t now_ns)
{
    if (poll->max_us == 0)
        return false;
    if (poll->budget_us == 0) {
        if (++poll->sleeps < poll->probe_after)
            return false;
        poll->sleeps = 0;
        poll->budget_us = poll->max_us;
        if (poll->probe_after < BUSYPOLL_PROBE_MAX)
            poll->probe_after *= 2;
    }
    poll->started_ns = now_ns;
    poll->last_ns = now_ns;
    return true;
}

bool busypoll_continue(struct busypoll *poll, uint64_t now_ns)
{
    bool preempted = now_ns - poll->last_ns > BUSYPOLL_GAP_NS;
    poll->last_ns = now_ns;
    return !preempted && now_ns - poll->started_ns < poll->budget_us * UINT64_C(1000);
}

void busypoll_end(struct busypoll *poll, bool found)
{
    poll->budget_us = found ? poll->max_us : 0;
    if (found)
        poll->probe_after = BUSYPOLL_PROBE_FIRST;
}
