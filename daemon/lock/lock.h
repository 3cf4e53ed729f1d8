/* SPDX-License-Identifier: MIT */
/*
 * Who may touch what: the locks of all devices. A pure state machine: no I/O, no clock, no mutex
 * of its own. What the outside world is told (flock and the like) follows from lock_table_mode and
 * is the backend's work; what is granted, waits or is refused is decided here and nowhere else.
 *
 * A lock is one range of one device, wanted by one owner (a session) in one mode. It is acquired in
 * two steps, because between them the outside world is asked: first it is *reserved* (no other
 * owner's request that conflicts with it is reserved any more), then *held* (other owners' I/O is
 * refused). An upgrade is the same two steps on a lock that stays held as shared meanwhile.
 *
 * Fairness (contract L1). Requests that wait stand in one order: upgrades before all others, else
 * in the order in which they came. A request waits if it conflicts with what another owner has
 * reserved or holds, or with any request that stands before it (its own owner's too). So a stream
 * of shared lockers cannot starve a writer. Locks of one owner never conflict with each other.
 *
 * Conflict: the ranges overlap, the owners differ, and one of the two is exclusive. Tables of
 * devices that share bytes (a partition and its disk) are *related*: a lock on one conflicts with
 * each lock on the other, whatever the ranges.
 *
 * Advisory locks (L9). An owner who may only read, and is not root, stands in the way of requests
 * for locks as anybody does. But what it holds keeps only owners of its own principal (its user)
 * from reading and changing; others who ask for no lock never notice it.
 *
 * Deadlock (L7). Owners belong to a party (a connection). A request that would have to wait is
 * refused when its owner would then wait, along any number of others, for itself. An owner that
 * waits keeps what it has, and what its party has on other tables; owners of one party on one table
 * may wait for each other, as threads do.
 *
 * Mutexes, the caller's: all calls are made with the space's mutex held. Those marked GATE change
 * what lock_may_read and lock_may_change look at, and are made with the mutexes of the table's
 * device and of all devices whose tables are related to it held as well. lock_may_read,
 * lock_may_change and what is said to be under the device's mutex need only that one.
 */
#ifndef BLKD_DAEMON_LOCK_LOCK_H
#define BLKD_DAEMON_LOCK_LOCK_H

#include "daemon/lock/tree.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum lock_mode {
    LOCK_NONE,
    LOCK_SHARED,
    LOCK_EXCLUSIVE,
};

/* What a lock's request is at; what is held meanwhile is lock.held. */
enum lock_phase {
    LOCK_SETTLED, /* nothing is asked for */
    LOCK_WAITING,
    LOCK_RESERVED, /* until lock_hold or lock_cancel */
};

struct lock_table;
struct lock;

TAILQ_HEAD(lock_list, lock);

/* Who can be in a deadlock; embedded in a connection. All members: under the space's mutex. */
struct lock_party {
    struct lock_list waits;       /* its requests that wait, on all devices; party_wait_link */
    struct lock_list possessions; /* its locks that are reserved or held; party_link */
    /* The search that has seen it, from which table, and whether from another as well. */
    uint64_t visit;
    const struct lock_table *visit_table;
    bool visit_all;
};

/* One session's part; embedded in it. All its locks are on one table. All members: under the
 * space's mutex, except `stale`. */
struct lock_owner {
    struct lock_party *party; /* constant */
    /* Constant: stands for the user whose owners keep each other out by advisory locks too, and
     * counts how many such locks they hold, on all tables. NULL: it is alone. */
    atomic_uint *principal;
    bool advisory;          /* constant: its locks are */
    struct lock_list locks; /* of any phase, in the order they were made; owner_link */
    uint64_t visit;         /* the search that has seen it */
    STAILQ_ENTRY(lock_owner) visit_link;
    bool stale; /* under the device's mutex: a lock of it was broken, and it has not taken notice
                   (lock_forgive): its writes are refused with -ESTALE */
};

/*
 * One lock; embedded in what the daemon keeps about it. All members: under the space's mutex.
 * `held` and `held_span` are written by GATE calls only, so that either mutex is enough to read
 * them; owner, table and range do not change while it is held or wanted.
 */
struct lock {
    struct lock_owner *owner;
    struct lock_table *table;
    struct lock_range range;
    enum lock_mode held;   /* GATE */
    enum lock_mode wanted; /* while not LOCK_SETTLED */
    enum lock_phase phase;
    bool isolates;  /* exclusive only: while held, others cannot even read (L2) */
    uint64_t order; /* of the request; grows */

    TAILQ_ENTRY(lock) owner_link;
    TAILQ_ENTRY(lock) queue_link;
    TAILQ_ENTRY(lock) granted_link;
    TAILQ_ENTRY(lock) result_link;

    /* The module's own. */
    TAILQ_ENTRY(lock) party_link;
    TAILQ_ENTRY(lock) party_wait_link;
    struct lock_span held_span;    /* GATE; strong: isolates */
    struct lock_span granted_span; /* held or reserved; strong: exclusive */
    struct lock_span waiting_span; /* strong: exclusive */
};

enum { LOCK_RELATED_MAX = 64 };

/* Of held locks. */
struct lock_counts {
    int all;
    int exclusive;
    int isolating;
    int advisory; /* not among the isolating */
};

/* The locks of one device; embedded in it. Each part has its rule at its top. */
struct lock_table {
    struct lock_space *space; /* constant */

    /* Under the space's mutex. */
    struct lock_list queue;   /* WAITING, in their order; queue_link */
    struct lock_list granted; /* held or reserved, in the order of their first reservation;
                                 granted_link */

    /* The module's own. Written by GATE calls only, so that either mutex is enough to read it. */
    struct lock_tree held_tree;
    struct lock_tree advisory_tree; /* held ones that are */
    struct lock_counts held;
    struct lock_counts related_held; /* of all related tables together */

    /* The module's own. Under the space's mutex; `related` and its count by GATE calls only. */
    struct lock_tree granted_tree;
    struct lock_tree waiting_tree;
    struct lock_table *related[LOCK_RELATED_MAX];
    unsigned int related_count;
};

/* Everything that can wait for each other: all tables of the daemon. All members: under its mutex,
 * which is the caller's. */
struct lock_space {
    uint64_t last_order;
    uint64_t last_search;
    uint64_t steps; /* over waiting requests, of any search so far: what tests of scale bound */
};

void lock_space_init(struct lock_space *space);
void lock_party_init(struct lock_party *party);
void lock_owner_init(struct lock_owner *owner, struct lock_party *party);
/* Before it asks for locks. The principal outlasts its owners. */
void lock_owner_belongs(struct lock_owner *owner, atomic_uint *principal, bool advisory);
void lock_table_init(struct lock_table *table, struct lock_space *space);

/* The two devices share bytes from now on (GATE, for both). 0, or -EDQUOT: too many relations.
 * Relating twice is the same as once. What both sides hold already stays; deadlocks are not looked
 * for here, so one of the two has no locks yet where that matters. */
int lock_relate(struct lock_table *one, struct lock_table *other);
/* Ends all relations of a table without locks (GATE). Waiters of the others are not affected: a
 * table without locks stands in nobody's way. */
void lock_unrelate(struct lock_table *table);

enum lock_verdict {
    LOCK_GRANTED,  /* reserved: lock_hold or lock_cancel follows */
    LOCK_QUEUED,   /* waits: a later call's *ret_reserved will have it */
    LOCK_BUSY,     /* refused: it may not wait, and *ret_blocker stands in its way */
    LOCK_DEADLOCK, /* refused: waiting would never end; *ret_blocker as above */
};

/*
 * `owner` asks for a new lock. `lock` is the caller's memory, zeroed or settled with held
 * LOCK_NONE, and is the module's until it is refused here, or released or cancelled. `mode` is not
 * LOCK_NONE; isolates needs LOCK_EXCLUSIVE. On refusal nothing has changed. *ret_blocker (may be
 * NULL) is a lock that is held, reserved or waits before it.
 */
enum lock_verdict lock_request(struct lock_table *table, struct lock *lock,
                               struct lock_owner *owner, struct lock_range range,
                               enum lock_mode mode, bool isolates, bool may_wait,
                               struct lock **ret_blocker);

/* A lock that is held shared and settled is to become exclusive. As lock_request; it stays held
 * shared whatever comes. Two upgraders of overlapping ranges: the second is a LOCK_DEADLOCK. So is
 * an upgrade that need not wait itself, if another would then wait for it for whom its party waits
 * already: it steps before requests that were there first. *ret_blocker is then what its party
 * waits for. */
enum lock_verdict lock_upgrade(struct lock *lock, bool isolates, bool may_wait,
                               struct lock **ret_blocker);

/* RESERVED becomes held (GATE). */
void lock_hold(struct lock *lock);

/* Takes back what is asked for (WAITING or RESERVED); what is held stays held. Requests that are
 * reserved thereby are appended to *ret_reserved (result_link), in their order, as in the calls
 * below. */
void lock_cancel(struct lock *lock, struct lock_list *ret_reserved);

/* Held exclusive and settled: whether others can read the range from now on (GATE). */
void lock_isolate(struct lock *lock, bool isolates);

/* What a waiting request waits for. */
struct lock *lock_blocker(const struct lock *lock);

/* Held exclusive and settled becomes held shared (GATE); isolation ends. */
void lock_downgrade(struct lock *lock, struct lock_list *ret_reserved);

/* Lets go of it, whatever its phase (GATE). The memory is the caller's again. */
void lock_release(struct lock *lock, struct lock_list *ret_reserved);

/* Marks the owner stale: its changes are refused from now on (under the device's mutex). */
void lock_break(struct lock_owner *owner);
/* The owner has taken notice: it asked for a lock anew and got it, or unlocked. */
void lock_forgive(struct lock_owner *owner);

/* May the owner read or change these bytes now? 0; -EBUSY: another's lock stands in the way
 * (*ret_blocker, may be NULL; NULL in it if the lock is on a related device); -ESTALE (changes
 * only). An owner without a lock may change what nobody else has locked; a shared lock of another
 * is in the way of changes, and of reads only an isolating one is. An advisory lock is in the way
 * of its own principal's changes only. Under the device's mutex. */
int lock_may_read(const struct lock_table *table, const struct lock_owner *owner,
                  struct lock_range range, const struct lock **ret_blocker);
int lock_may_change(const struct lock_table *table, const struct lock_owner *owner,
                    struct lock_range range, const struct lock **ret_blocker);

/* The strongest mode that is held or reserved: what the outside world must be kept out for. */
enum lock_mode lock_table_mode(const struct lock_table *table);
/* The strongest mode that is held (under the device's mutex). */
enum lock_mode lock_table_held(const struct lock_table *table);
/* The strongest mode that the owner holds of any range. */
enum lock_mode lock_owner_held(const struct lock_owner *owner);
/* The owner's lock of exactly this range, or NULL. */
struct lock *lock_owner_find(const struct lock_owner *owner, struct lock_range range);
/* How many stand before it in its own table's queue. */
unsigned int lock_queue_position(const struct lock *lock);

/* "none", "shared", "exclusive". */
const char *lock_mode_name(enum lock_mode mode);

#endif
