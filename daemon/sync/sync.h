/* SPDX-License-Identifier: MIT */
/*
 * What is on stable storage: the ledger of one device. A pure state machine: no I/O, no clock (the
 * time is told, in milliseconds of the wall clock, and only kept), no mutex of its own; the
 * device's mutex is held around every call.
 *
 * Changes (writes, discards, zeroings, resizes) are numbered as they are acknowledged. A flush is
 * satisfied when every change acknowledged before it came is covered by a sync that began after
 * that acknowledgement and succeeded (contract S3). While one sync runs, flushes that it does not
 * cover wait together for the next one (S4). A failed sync fails the device for good: the pages it
 * could not write are marked clean, and a later fsync would say 0 (S5).
 */
#ifndef BLKD_DAEMON_SYNC_SYNC_H
#define BLKD_DAEMON_SYNC_SYNC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* One flush; embedded in its request. The ledger's own from sync_flush until sync_completed returns
 * it. */
struct sync_waiter {
    uint64_t target; /* the last change that it must cover */
    TAILQ_ENTRY(sync_waiter) link;
};

TAILQ_HEAD(sync_waiter_list, sync_waiter);

/*
 * One session's part: which of the unsynced changes are its own; embedded in the session, born all
 * zero. Its members are the ledger's own, and as of the last call with it: ask sync_part_unsynced.
 */
struct sync_part {
    uint64_t last_change; /* the number of its last one that was not durable by itself */
    uint64_t boundary;    /* the ledger's `covering` when it was last looked at */
    uint64_t covered;     /* how many up to the boundary are not durable */
    uint64_t covered_since_ms;
    uint64_t later; /* how many after it */
    uint64_t later_since_ms;
};

/* One device's; embedded in it. All members: under the device's mutex. */
struct sync_ledger {
    uint64_t acknowledged; /* number of the last acknowledged change; starts at 1: born unsynced */
    uint64_t durable;      /* all changes up to this one are on stable storage */
    uint64_t covering; /* the changes up to this one are in the sync that runs or was the last */
    bool running;
    int failed;                      /* 0, or the negative errno of the sync that failed */
    uint64_t failed_ms;              /* when */
    struct sync_waiter_list current; /* satisfied by the running sync */
    struct sync_waiter_list next;    /* by the one after it */
    /* S4: flushes that came; syncs started; flushes that joined a sync of another's; that needed
     * none; that were refused, or failed before a sync began for them. Always
     * asked = issued + shared + elided + refused, plus one while `next` has anybody. */
    uint64_t asked, issued, shared, elided, refused;
    /* For a person: when the oldest change that is not durable was acknowledged (0: all is
     * durable); when the last sync that succeeded ended (0: none did) and how long it took; how
     * long the longest took, whether or not it succeeded. */
    uint64_t unsynced_since_ms;
    uint64_t last_sync_ms;
    uint64_t last_sync_us, longest_sync_us;
    uint64_t later_since_ms; /* private: when the first change after `covering` was acknowledged */
};

/* Born unsynced: as if sync_born_unsynced were called at once. */
void sync_init(struct sync_ledger *ledger, uint64_t now_ms);

/* Instead of sync_init: the device is known to have failed, from before it was opened, with a
 * negative errno. */
void sync_init_failed(struct sync_ledger *ledger, int error, uint64_t failed_ms);

/* Whoever was here before (another daemon, an outsider) may have written: a change of nobody's.
 * At an external change of the size, for one. */
void sync_born_unsynced(struct sync_ledger *ledger, uint64_t now_ms);

/* A change has ended and is about to be acknowledged (also when it failed: a part may have
 * happened). */
void sync_changed(struct sync_ledger *ledger, struct sync_part *part, uint64_t now_ms);

/* A change was made durable by itself (FUA) and nothing else is known of it: like sync_changed, but
 * if everything before it is durable, it is so too. */
void sync_changed_durably(struct sync_ledger *ledger, struct sync_part *part, uint64_t now_ms);

/* How many of the part's changes are not known to be durable, exactly; *ret_since_ms (may be NULL):
 * when the first of them was acknowledged, 0 if there is none. */
uint64_t sync_part_unsynced(const struct sync_ledger *ledger, struct sync_part *part,
                            uint64_t *ret_since_ms);

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
 * The running sync ended with `result` (0 or a negative errno), having taken `took_us`. Moves the
 * waiters that are thereby answered to the end of *ret_answered (an initialised list), in the order
 * in which they came: those that it covered, or all of them when the device has failed, by this
 * sync or by sync_fail while it ran. They are answered with ledger->failed, not with `result`.
 * Returns true when the caller starts another sync now, for those that wait.
 */
bool sync_completed(struct sync_ledger *ledger, int result, uint64_t now_ms, uint64_t took_us,
                    struct sync_waiter_list *ret_answered);

/* The device has failed by another way than a sync of the ledger (a FUA write), with a negative
 * errno: from now on every flush is refused, and those that wait fail when the running sync ends.
 * The first error stays. */
void sync_fail(struct sync_ledger *ledger, int error, uint64_t now_ms);

/* Whether a change is not known to be on stable storage. Stays true of a failed device. */
bool sync_unsynced(const struct sync_ledger *ledger);

/* How many acknowledged changes are not known to be on stable storage, nobody's among them. */
uint64_t sync_unsynced_count(const struct sync_ledger *ledger);

#endif
