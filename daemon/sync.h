/* SPDX-License-Identifier: MIT */
/*
 * What is on stable storage: the ledger of one device. A pure state machine: no I/O, no clock, no
 * mutex of its own; the device's mutex is held around every call.
 *
 * Changes (writes, discards, zeroings, resizes) are numbered as they are acknowledged. A flush is
 * satisfied when every change acknowledged before it came is covered by a sync that began after
 * that acknowledgement and succeeded (CONTRACT S3). While one sync runs, flushes that it does not
 * cover wait together for the next one (S4). A failed sync fails the device for good: the pages it
 * could not write are marked clean, and a later fsync would say 0 (S5).
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
    /* S4: syncs started; flushes that joined a sync of another's; flushes that needed none. Every
     * flush that was not refused is in one of them, at the latest when it is answered. */
    uint64_t issued, shared, elided;
};

void sync_init(struct sync_ledger *ledger);

/* A change has ended and is about to be acknowledged (also when it failed: a part may have
 * happened). */
void sync_changed(struct sync_ledger *ledger);

/* A change was made durable by itself (FUA) and nothing else is known of it: like sync_changed, but
 * if everything before it is durable, it is so too. */
void sync_changed_durably(struct sync_ledger *ledger);

enum sync_verdict {
    SYNC_DONE,   /* nothing to do: the flush is satisfied, the waiter not used */
    SYNC_WAIT,   /* queued: sync_completed will return the waiter */
    SYNC_START,  /* queued, and the caller starts a sync: it may not begin before this call */
    SYNC_FAILED, /* refused: ledger->failed says why; the waiter not used */
};

/*
 * A flush came. It joins the running sync only if no change was acknowledged since that one began;
 * else it waits for the next. The waiter stays in the ledger until sync_completed returns it.
 */
enum sync_verdict sync_flush(struct sync_ledger *ledger, struct sync_waiter *waiter);

/*
 * The running sync ended with `result` (0 or a negative errno). Moves the waiters that are thereby
 * answered to the end of *ret_answered (an initialised list): those that it covered, or all of them
 * when the device has failed, by this sync or by sync_fail while it ran. They are answered with
 * ledger->failed, not with `result`. Returns true when the caller starts another sync now, for
 * those that wait.
 */
bool sync_completed(struct sync_ledger *ledger, int result, struct sync_waiter_list *ret_answered);

/* The device has failed by another way than a sync of the ledger (a FUA write), with a negative
 * errno: from now on every flush is refused, and those that wait fail when the running sync ends.
 * The first error stays. */
void sync_fail(struct sync_ledger *ledger, int error);

/* Whether a change is not known to be on stable storage. Stays true of a failed device. */
bool sync_unsynced(const struct sync_ledger *ledger);

#endif
