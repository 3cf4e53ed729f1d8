/* SPDX-License-Identifier: MIT */
/*
 * The helper pool: threads for verbs that can block for ever (open, stat, flock, seek, ioctl,
 * fsync, fallocate, close). A job names the shares it draws on (its device's, its connection's, its
 * uid's); it starts when each of them has room. So a hung disk or a flood of discards occupies its
 * own share and no more, and everyone else's jobs pass by. Threads start on demand and end when
 * idle, but for one.
 *
 * A job waits on the first of its shares that is full, in that share's own queue: a long queue
 * behind one share costs nobody else a scan. When that share gets room and another one is full by
 * then, the job goes on to wait there, ahead of those that have waited at one share only. It holds
 * nothing while it waits, so that a hung device does not pull its users' other shares with it.
 */
#ifndef BLKD_DAEMON_BASE_HELPER_H
#define BLKD_DAEMON_BASE_HELPER_H

#include <stddef.h>
#include <sys/queue.h>

#include "daemon/base/mailbox.h"

struct helper_pool;
struct helper_job;

STAILQ_HEAD(helper_job_queue, helper_job);

/* At most `limit` jobs that name this share run at once. Belongs to the pool's lock between
 * helper_share_init and _deinit; must outlive every job that names it. */
struct helper_share {
    unsigned int limit;
    unsigned int running;
    struct helper_job_queue returned; /* have had their turn at another share: these go first */
    struct helper_job_queue blocked;
};

void helper_share_init(struct helper_share *share, unsigned int limit);
void helper_share_deinit(struct helper_share *share); /* no job may name it any more */

enum { HELPER_SHARES = 3 };

struct helper_job {
    void (*run)(struct helper_job *job);        /* on a helper thread */
    void (*on_done)(struct helper_job *job);    /* on the thread that owns reply_to, after run;
                                                   may free it */
    struct mailbox *reply_to;                   /* NULL: on_done is called on the helper thread */
    struct helper_share *shares[HELPER_SHARES]; /* NULL where there is none; each named once */

    /* The pool's own. */
    struct letter letter;
    STAILQ_ENTRY(helper_job) link;
};

struct helper_counts {
    unsigned int running;
    unsigned int waiting;
    unsigned int threads; /* that run jobs or are idle */
};

/* A pool of at most max_threads threads and one that starts and joins them; `name` (at most 15
 * bytes) is what they are called. Signals stay blocked in them. One thread is started here and
 * stays, so that jobs can always be run. 0 or a negative errno. */
int helper_new(unsigned int max_threads, const char *name, struct helper_pool **ret_pool);

/* Ends idle threads and waits for them; with jobs that are queued or run, waits for those too, so
 * call it only when nothing hangs: a daemon that gives up on a hung verb exits without. Returns
 * NULL. */
struct helper_pool *helper_free(struct helper_pool *pool);

/* How long a thread stays without work before it ends; HELPER_IDLE_MS if not said. */
void helper_set_idle_ms(struct helper_pool *pool, unsigned int idle_ms);

/* Any thread; does not block. If no further thread can be started, the job runs when one of those
 * that there are has come to it: it is never lost and never run on the caller's thread. */
void helper_submit(struct helper_pool *pool, struct helper_job *job);

/* For lists: what the pool is doing now. */
void helper_count(struct helper_pool *pool, struct helper_counts *ret_counts);

#endif
