/* SPDX-License-Identifier: MIT */
/*
 * Waiting: a step as the thread that leads (lead.h) or as one that follows. Mutex held, and given
 * up while a step waits.
 */
#ifndef BLKD_CLIENT_LIB_CORE_WAIT_H
#define BLKD_CLIENT_LIB_CORE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/call/call.h"
#include "client/lib/core/lead.h"

/* One step nearer, as leader or follower: returns 0 after something may have changed, -ETIMEDOUT,
 * or -EINTR when a signal handler ran. `call` is what a follower is woken for; NULL: none. Not on a
 * lost connection. */
int wait_step(struct blkd *connection, struct call *call, enum lead_role role,
              uint64_t deadline_ns);

/* Waits until the call is done. Returns 0 or -ETIMEDOUT. */
int wait_for_call(struct blkd *connection, struct call *call, uint64_t deadline_ns);

/* The library is being left, not from inside blkd_dispatch: who polls the descriptor hears of what
 * is complete, and of what completes from now on. */
void wait_leave(struct blkd *connection);

/* Whether a thread that has found something in the ring should look at the socket too. Nobody
 * reads. */
bool wait_socket_due(const struct blkd *connection);

#endif
