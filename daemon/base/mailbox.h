/* SPDX-License-Identifier: MIT */
/*
 * Messages to the thread that owns the mailbox, from any thread: what crosses workers goes through
 * here. A letter is embedded in what it is about, so that posting allocates nothing and cannot
 * fail. The owner polls mailbox_fd and drains when it is readable; only the first letter into an
 * empty box costs a system call.
 *
 * Invariant, kept under the lock: event_fd is readable exactly while the queue is not empty.
 */
#ifndef BLKD_DAEMON_BASE_MAILBOX_H
#define BLKD_DAEMON_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct letter {
    STAILQ_ENTRY(letter) link;
    /* Runs on the owner's thread, without the box's lock; the letter may be posted again or freed.
     */
    void (*deliver)(struct letter *letter);
};

STAILQ_HEAD(letter_queue, letter);

struct mailbox {
    pthread_mutex_t mutex;
    struct letter_queue queue;
    bool shut;
    int event_fd;
};

/* 0 or a negative errno (no descriptor to be had). */
int mailbox_init(struct mailbox *box);
void mailbox_deinit(struct mailbox *box); /* must be empty */

/* Any thread. Does not block, does not allocate. A letter is in at most one box at a time. */
void mailbox_post(struct mailbox *box, struct letter *letter);

/* The same, but false, with the letter not posted, once the box is shut. */
bool mailbox_try_post(struct mailbox *box, struct letter *letter);

/* Owner's thread: shuts the box for mailbox_try_post, if it is empty; returns whether it is shut.
 * What mailbox_post still posts is for a last mailbox_drain. */
bool mailbox_shut(struct mailbox *box);

/* For poll, epoll, libevent: readable while letters wait. */
int mailbox_fd(const struct mailbox *box);

/* Whether letters wait, without a system call: for a thread that polls before it sleeps. */
bool mailbox_ready(struct mailbox *box);

/* Owner's thread: delivers, in order, the letters that were there when it began. Returns how many.
 */
unsigned int mailbox_drain(struct mailbox *box);

#endif
