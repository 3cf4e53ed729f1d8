/* SPDX-License-Identifier: MIT */
/*
 * Waiting, when several threads wait on one connection. One of them leads: it reads the socket and
 * watches the ring, without holding the mutex, for all. The others sleep, each on a condition
 * variable of its own, until their call is done or the lead is handed to them. A leader whose own
 * wait is over hands the lead on.
 */
#ifndef BLKD_CLIENT_LIB_CORE_WAIT_H
#define BLKD_CLIENT_LIB_CORE_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct blkd;
struct call;

/* A thread that sleeps while another leads. */
struct waiter {
    TAILQ_ENTRY(waiter) link;
    pthread_cond_t wake;
    bool dispatches; /* in blkd_dispatch: also woken when there are callbacks to run */
};

TAILQ_HEAD(waiter_list, waiter);

enum wait_role {
    WAIT_FOR_CALL,
    WAIT_TO_DISPATCH,
};

/* One step nearer, as leader or follower: returns 0 after something may have changed, -ETIMEDOUT,
 * or -EINTR when a signal handler ran. Mutex held, given up meanwhile. Not on a lost connection. */
int wait_step(struct blkd *connection, struct call *call, enum wait_role role,
              uint64_t deadline_ns);

/* Waits until the call is done. Returns 0 or -ETIMEDOUT. Mutex held, given up meanwhile. */
int wait_for_call(struct call *call, uint64_t deadline_ns);

/* Passes the lead to a sleeping thread if nobody has it. */
void wait_hand_over(struct blkd *connection);

/* The library is being left, not from inside blkd_dispatch: who polls the descriptor hears of what
 * is complete, and of what completes from now on. */
void wait_leave(struct blkd *connection);

/* Whether a thread that has found something in the ring should look at the socket too. Mutex held,
 * nobody reads. */
bool wait_socket_due(const struct blkd *connection);

/* Wakes the thread that polls, so that it looks again at what it polls for. */
void wait_kick(struct blkd *connection);

#endif
