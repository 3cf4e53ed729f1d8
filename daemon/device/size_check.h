/* SPDX-License-Identifier: MIT */
/*
 * Whether a device's size was changed behind blkd's back (contract S9): somebody truncates the
 * image, or a disk grows. Looked at each second, and before a transfer is refused because of the
 * bounds, so that who has just grown it can use it at once.
 *
 * A look can hang as the device can, so each device has at most one of either kind in flight: the
 * timed one, on a share of the helper pool for such looks only, and the asked-for one, on that of
 * who asks. Those who ask while one runs wait together for the next, because theirs has to begin
 * after they came.
 */
#ifndef BLKD_DAEMON_DEVICE_SIZE_CHECK_H
#define BLKD_DAEMON_DEVICE_SIZE_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/storage/backend.h"

struct device;
struct registry;
struct user;

/* Somebody who waits for a look that begins after now. */
struct look_wait {
    struct io_loop *loop;
    struct helper_share *user_share;         /* of who asks; outlasts on_done */
    void (*on_done)(struct look_wait *wait); /* on `loop` */

    struct letter letter;
    TAILQ_ENTRY(look_wait) link;
};

TAILQ_HEAD(look_wait_list, look_wait);

struct look {
    struct io io;
    uint64_t generation; /* the device's when it began: what it sees is of no use in another */
    bool busy;
};

/* Embedded in a device; under its mutex. */
struct looks {
    struct look timed;
    struct user *timed_user; /* a reference: on whose account it is made */
    struct look asked;
    struct look_wait_list current; /* they are told by the asked one that runs */
    struct look_wait_list next;    /* by the one after it */
    bool failed;                   /* the last one; it is logged once */
};

static inline void size_checks_init(struct looks *looks)
{
    TAILQ_INIT(&looks->current);
    TAILQ_INIT(&looks->next);
}

/* wait->on_done follows, when a look that began after this call has ended and the device's size is
 * what it saw. On the waiter's loop, for a session of the device that stays until then. */
void size_check_ask(struct device *device, struct look_wait *wait);

/* Has all open devices looked at, but those whose last timed look has not come back, and those that
 * have failed, whose recovery it would stand in the way of. */
void size_check_all(struct registry *registry, struct io_loop *loop);

#endif
