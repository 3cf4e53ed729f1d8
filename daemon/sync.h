/* SPDX-License-Identifier: MIT */
/*
 * What is on stable storage: the ledger of one device. A pure state machine: no I/O, no clock, no mutex of
 * its own; the device's mutex is held around every call.
 *
 * Changes (writes, discards, zeroings, resizes) are numbered as they are acknowledged. A flush is
 * satisfied when every change acknowledged before it came is covered by a sync that began after that
 * acknowledgement and succeeded (CONTRACT S3). While one sync runs, flushes that it does not cover
 * wait together for the next one (S4). A failed sync fails the device for good: the pages it could
 * not write are marked clean, and a later fsync would say 0 (S5).
 */
#ifndef BLKD_DAEMON_SYNC_H
#define BLKD_DAEMON_SYNC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* One flush; embedded in its request. */
struct sync_waiter {
    uint64_t target; /* the last change that it must cover */
    TAILQ_ENTRY(sync_waiter) link;
};

TAILQ_HEAD(sync_waiter_list, sync_waiter);

struct sync_ledger {
    uint64_t acknowledged; /* number of the last acknowledged change; starts at 1: born unsynced */
    uint64_t durable;      /* all changes up to this one are on stable storage */
    uint64_t covering;     /* while a sync runs: the changes up to this one are in it */
    bool running;
    int failed;                      /* 0, or the negative errno of the sync that failed */
    struct sync_waiter_list current; /* satisfied by the running sync */
    struct sync_waiter_list next;    /* by the one after it */
    uint64_t issued, shared, elided; /* S4: syncs started; flushes that joined another's; that needed none */
};

void sync_init(struct sync_ledger *ledger);

/* A change has ended and is about to be acknowledged (also when it failed: a part may have happened). */
void sync_changed(struct sync_ledger *ledger);

/* A change was made durable by itself (FUA) and nothing else is known of it: like sync_changed, but
 * if everything before it is durable and no sync runs, it is so too. */
void sync_changed_durably(struct sync_ledger *ledger);

enum sync_verdict {
    SYNC_DONE,   /* nothing to do: the flush is satisfied */
    SYNC_WAIT,   /* queued: sync_completed will return the waiter */
    SYNC_START,  /* queued, and the caller starts a sync now */
    SYNC_FAILED, /* refused: ledger->failed says why */
};

/* A flush came. */
enum sync_verdict sync_flush(struct sync_ledger *ledger, struct sync_waiter *waiter);

/*
 * The running sync ended with `result` (0 or a negative errno). Moves the waiters that are thereby
 * answered to *ret_answered (an initialised, empty list): with success those that it covered, on failure all.
 * Returns true when the caller starts another sync now, for those that wait.
 */
bool sync_completed(struct sync_ledger *ledger, int result, struct sync_waiter_list *ret_answered);

/* The device has failed by another way than a sync of the ledger (a FUA write): from now on every flush is refused. The first error stays. */
void sync_fail(struct sync_ledger *ledger, int error);

/* Whether a flush now would have something to do. */
bool sync_unsynced(const struct sync_ledger *ledger);

#endif
