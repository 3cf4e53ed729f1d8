/* SPDX-License-Identifier: MIT */
/*
 * Who reads, when several threads wait on one connection. One of them leads: it reads the socket
 * and watches the ring, without holding the mutex, for all. The others sleep, each on a condition
 * variable of its own, until their call is done or the lead is handed to them. A leader whose own
 * wait is over hands the lead on. (How it is done is in wait.h.)
 */
#ifndef BLKD_CLIENT_LIB_CORE_LEAD_H
#define BLKD_CLIENT_LIB_CORE_LEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/spin.h"

/* A thread that sleeps while another leads. */
struct waiter {
    TAILQ_ENTRY(waiter) link;
    pthread_cond_t wake;
    bool dispatches; /* in blkd_dispatch: also woken when there are callbacks to run */
};

TAILQ_HEAD(waiter_list, waiter);

enum lead_role {
    LEAD_FOR_CALL,
    LEAD_TO_DISPATCH,
};

/* What the thread that leads keeps for itself, and for the next one. Only it looks at this, without
 * the mutex while it reads. */
struct lead_polling {
    struct spin spin;
    uint64_t looked_ns; /* when the socket was last looked at */
};

/* Under the connection's mutex, except `polling`. */
struct lead {
    bool reading; /* a thread leads */
    enum lead_role role;
    struct waiter_list waiters;
    int kick_fd; /* constant: wakes the thread that leads out of poll(2) */
    struct lead_polling polling;
};

/* Leaves kick_fd to be opened. */
void lead_init(struct lead *lead, uint64_t spin_max_ns);

/* Wakes the thread that leads, so that it looks again at what it polls for. */
void lead_kick(struct lead *lead);

/* Passes the lead to a sleeping thread if nobody has it. */
void lead_hand_over(struct lead *lead);

/* There are callbacks to run: wakes the threads that wait for that, the leader included. */
void lead_wake_dispatchers(struct lead *lead);

#endif
