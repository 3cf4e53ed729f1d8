/* SPDX-License-Identifier: MIT */
/*
 * What keeps the outside world out of a device (contract L3) as its lock table demands: one change
 * at a time, for all who wait for one. The engines of all loops keep the guard's descriptors too
 * (R3).
 */
#ifndef BLKD_DAEMON_DEVICE_GUARD_H
#define BLKD_DAEMON_DEVICE_GUARD_H

#include <stdbool.h>
#include <sys/queue.h>

#include "daemon/lock/lock.h"
#include "daemon/storage/backend.h"

struct device;

/* Somebody who waits until the outside world is kept out as the lock table now demands, or is not
 * any more. */
struct guard_wait {
    struct io_loop *loop;
    struct helper_share *user_share; /* outlasts on_done; may be NULL */
    /* On `loop`. `kept` is what the outside world is kept out in, `result` the negative errno of an
     * attempt to keep it out more strongly, with the reason in `message`. */
    void (*on_done)(struct guard_wait *wait, enum guard_mode kept, int result);
    char message[BACKEND_MESSAGE_MAX];
    enum refusal refusal; /* that attempt's */

    struct device *device;
    struct letter letter;
    TAILQ_ENTRY(guard_wait) link;
    enum guard_mode kept;
    int result;
};

TAILQ_HEAD(guard_wait_queue, guard_wait);

/* One loop's part in a change of the guard. */
struct guard_pin {
    struct device *device;
    struct io_loop *loop;
    struct letter letter;
};

/* Embedded in a device. */
struct guard {
    /* Under the device's mutex. */
    enum guard_mode kept;
    bool busy;                     /* a change is under way */
    bool pinned_any;               /* engines keep it */
    unsigned int pins_left;        /* loops that have not answered yet */
    struct guard_wait_queue waits; /* for the next change */

    /* The change's that is under way: one thread at a time. */
    enum guard_mode target;
    struct guard_wait_queue current;       /* who is answered by it; the first one's loop does it */
    void (*pinned)(struct device *device); /* when all loops have answered */
    struct io io;
    int result;
    char message[BACKEND_MESSAGE_MAX];

    /* Constant but for their letters. */
    struct guard_pin *pins; /* one for each loop */
    unsigned int pin_count;
};

/* How the outside world is to be kept out for a lock of that mode. */
static inline enum guard_mode guard_for(enum lock_mode mode)
{
    static const enum guard_mode modes[] = {
        [LOCK_NONE] = GUARD_NONE, [LOCK_SHARED] = GUARD_SHARED, [LOCK_EXCLUSIVE] = GUARD_EXCLUSIVE};
    return modes[mode];
}

/* 0 or -ENOMEM. */
int guard_init(struct device *device);
void guard_deinit(struct guard *guard);

/*
 * The locks have changed: sees to it that the outside world is kept out as they now demand, as well
 * as it can, and tells `wait`, always later. Without the lock domain's mutex and any device's.
 */
void guard_settle(struct device *device, struct guard_wait *wait);

#endif
