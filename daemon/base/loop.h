/* SPDX-License-Identifier: MIT */
/*
 * The loop of a thread, as those that run on it know it: they post letters to it, run jobs that may
 * block, set timers, and keep the thread from ending. Whose thread it is they do not know. A worker
 * has one; a test may have one without a worker.
 */
#ifndef BLKD_DAEMON_BASE_LOOP_H
#define BLKD_DAEMON_BASE_LOOP_H

#include <stdbool.h>

#include "daemon/base/helper.h"
#include "daemon/base/mailbox.h"

struct event;
struct event_base;

struct loop {
    struct mailbox mailbox;      /* any thread posts */
    struct helper_pool *helpers; /* constant */

    /* The thread's own. */
    struct event_base *events;
    unsigned int pending; /* see loop_hold */
};

/* A loop of the calling or a future thread, whose jobs run on `helpers`. 0 or a negative errno
 * (no descriptor, no memory) with nothing left to free. */
int loop_init(struct loop *loop, struct helper_pool *helpers);
/* After the thread has ended. Delivers the letters that are left. */
void loop_deinit(struct loop *loop);

/* Any thread. Neither blocks nor allocates; the letter is delivered on the loop's thread. */
static inline void loop_post(struct loop *loop, struct letter *letter)
{
    mailbox_post(&loop->mailbox, letter);
}

/* The same; false, with the letter not posted, when the loop's thread has ended. */
static inline bool loop_try_post(struct loop *loop, struct letter *letter)
{
    return mailbox_try_post(&loop->mailbox, letter);
}

/* Runs a job on the helper pool; its on_done is called on the loop's thread. Any thread. */
void loop_submit(struct loop *loop, struct helper_job *job);

/* The thread does not end between loop_hold and loop_release: something comes back to it. On the
 * loop's thread. */
static inline void loop_hold(struct loop *loop)
{
    loop->pending++;
}

static inline void loop_release(struct loop *loop)
{
    loop->pending--;
}

/* A timer of the loop's thread, which alone calls these. Zeroed, it is a timer that is not set. */
struct loop_timer {
    struct event *event;
    void (*on_time)(struct loop_timer *timer); /* on the loop's thread; may set it again */
};

/* Calls timer->on_time once, after so many milliseconds; instead of an earlier setting. 0 or
 * -ENOMEM. */
int loop_timer_set(struct loop_timer *timer, struct loop *loop, unsigned int delay_ms);
/* It does not fire any more; it can be set again. */
void loop_timer_cancel(struct loop_timer *timer);
/* The same, and frees what it holds. */
void loop_timer_deinit(struct loop_timer *timer);

#endif
