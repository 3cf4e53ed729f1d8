/* SPDX-License-Identifier: MIT */
/*
 * What is in flight, of a device or of a session, and those who wait until all of it has ended that
 * had begun before. All of it under the device's mutex.
 */
#ifndef BLKD_DAEMON_DEVICE_DRAIN_H
#define BLKD_DAEMON_DEVICE_DRAIN_H

#include <stdbool.h>
#include <sys/queue.h>

#include "daemon/base/loop.h"

/* Somebody who waits. */
struct drain {
    struct loop *loop;
    void (*on_done)(struct drain *drain); /* on `loop` */
    void *user_data;

    struct letter letter;
    TAILQ_ENTRY(drain) link;
};

TAILQ_HEAD(drain_queue, drain);

/* Transfers and resizes in flight, counted by the epoch they began in. */
struct drain_gate {
    unsigned int in_flight[2];
    unsigned int epoch;
    struct drain_queue drains; /* the first waits for in_flight[1 - epoch] to end */
};

void drain_gate_init(struct drain_gate *gate);
/* Something begins; the epoch is given back when it has ended. */
unsigned int drain_gate_enter(struct drain_gate *gate);
void drain_gate_leave(struct drain_gate *gate, unsigned int epoch);
unsigned int drain_gate_count(const struct drain_gate *gate);
/* Whether anything is in flight; if so, drain->on_done follows when all that is has ended. */
bool drain_gate_wait(struct drain_gate *gate, struct drain *drain);

#endif
