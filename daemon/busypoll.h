/* SPDX-License-Identifier: MIT */
/*
 * How long a worker polls before it sleeps: a budget that learns. It grows while polling finds
 * something in time, falls to 0 when a poll finds nothing or was preempted, and is then tried again
 * ever more rarely. Pure: the clock's readings are passed in.
 */
#ifndef BLKD_DAEMON_BUSYPOLL_H
#define BLKD_DAEMON_BUSYPOLL_H

#include <stdbool.h>
#include <stdint.h>

struct busypoll {
    uint32_t max_us;      /* 0: never poll */
    uint32_t budget_us;   /* now */
    uint32_t sleeps;      /* since the budget fell to 0 */
    uint32_t probe_after; /* so many sleeps until the next try */
    uint64_t started_ns;  /* of the poll under way */
    uint64_t last_ns;     /* its last look at the clock */
};

void busypoll_init(struct busypoll *poll, uint32_t max_us);

/* Nothing is to be done: begin to poll (true) or sleep at once (false)? */
bool busypoll_begin(struct busypoll *poll, uint64_t now_ns);

/* Nothing found yet: go on (true)? */
bool busypoll_continue(struct busypoll *poll, uint64_t now_ns);

/* The poll ended, with something to do or with nothing. */
void busypoll_end(struct busypoll *poll, bool found);

#endif
