/* SPDX-License-Identifier: MIT */
/*
 * Does an owner wait for itself? (contract L7)
 *
 * While an owner (a session) waits, it keeps what it has, and so does its party (the connection)
 * with what it has on other devices: whoever takes two devices one after the other is one client
 * with two sessions. Sessions of one party on one device are taken for threads that go on by
 * themselves: that one of them waits for another is no deadlock.
 *
 * Searched backwards: from what the owner keeps, to the requests that wait for that, to what their
 * owners keep, and so on, until a request of the first owner turns up. Most owners have little
 * that anybody waits for, while a request in a long queue waits for thousands. Each owner is
 * visited once, and each party's possessions twice at most; the walks pass by requests whose owners
 * were.
 */
#include "daemon/lock/impl.h"

#include <stddef.h>

STAILQ_HEAD(owner_list, lock_owner);

struct search {
    struct lock_owner *owner;
    const struct lock_table *table; /* the owner's */
    bool waits;                     /* it waits itself; else it has something new */
    uint64_t number;
    struct owner_list pending; /* to be visited; visit_link */
};

/* A lock that keeps waiting what stands behind `rank`. */
struct keeper {
    const struct lock *lock;
    enum lock_mode mode;
    uint64_t rank;
    bool of_mate; /* the party's own waiters are not kept by it */
};

/* The owner itself. One that does not wait, but has something new, keeps those of its party waiting
 * for whom that is kept by them: those that wait on other tables. */
static bool closes_circle(const struct search *search, const struct lock_owner *owner,
                          const struct lock_table *table)
{
    if (owner == search->owner)
        return true;
    return !search->waits && owner->party == search->owner->party && table != search->table;
}

/* Those that it keeps waiting on one table: true if one of them closes the circle. */
static bool visit_waiters(struct search *search, const struct keeper *keeper,
                          struct lock_walk *walk, const struct lock_table *table)
{
    struct lock_span *span;

    lock_walk_start(walk, &table->waiting_tree);
    while ((span = lock_walk_next(walk)) != NULL) {
        struct lock_owner *owner = span->lock->owner;

        if (owner == keeper->lock->owner ||
            (keeper->of_mate && owner->party == keeper->lock->owner->party))
            continue;
        if (closes_circle(search, owner, table))
            return true;
        span->seen = search->number;
        if (owner->visit == search->number)
            continue;
        owner->visit = search->number;
        STAILQ_INSERT_TAIL(&search->pending, owner, visit_link);
    }
    return false;
}

/* As above, on all tables. */
static bool visit_lock(struct search *search, const struct keeper *keeper)
{
    const struct lock_table *table = keeper->lock->table;
    struct lock_walk walk = {
        .range = keeper->lock->range,
        .kind = lock_conflicting_kind(keeper->mode),
        .rank_first = keeper->rank + 1,
        .rank_last = UINT64_MAX,
        .search = search->number,
    };
    bool found = visit_waiters(search, keeper, &walk, table);

    walk.range = LOCK_WHOLE;
    for (unsigned int i = 0; !found && i < table->related_count; i++)
        found = visit_waiters(search, keeper, &walk, table->related[i]);
    table->space->steps += walk.steps;
    return found;
}

static bool visit_granted(struct search *search, const struct lock *lock, bool of_mate)
{
    const struct keeper keeper = {
        .lock = lock, .mode = lock_granted_mode(lock), .of_mate = of_mate};

    return keeper.mode != LOCK_NONE && visit_lock(search, &keeper);
}

static bool visit_waiting(struct search *search, const struct lock *lock, bool of_mate)
{
    const struct keeper keeper = {
        .lock = lock, .mode = lock->wanted, .rank = lock_rank(lock), .of_mate = of_mate};

    return lock->phase == LOCK_WAITING && visit_lock(search, &keeper);
}

/* What the party has or will have on other tables than `table` (`other`), or on this one. */
static struct lock *visit_mates(struct search *search, const struct lock_party *party,
                                const struct lock_table *table, bool other)
{
    struct lock *lock;

    TAILQ_FOREACH (lock, &party->possessions, party_link) {
        if ((lock->table != table) == other && visit_granted(search, lock, true))
            return lock;
    }
    TAILQ_FOREACH (lock, &party->waits, party_wait_link) {
        if ((lock->table != table) == other && visit_waiting(search, lock, true))
            return lock;
    }
    return NULL;
}

/* The first owner of a party that waits keeps what the party has on all other tables; another one,
 * on another table, keeps what there is on the first one's as well. */
static struct lock *visit_party(struct search *search, struct lock_party *party,
                                const struct lock_table *table)
{
    const struct lock_table *first = party->visit == search->number ? party->visit_table : NULL;

    if (first == NULL) {
        party->visit = search->number;
        party->visit_table = table;
        party->visit_all = false;
        return visit_mates(search, party, table, true);
    }
    if (first == table || party->visit_all)
        return NULL;
    party->visit_all = true;
    return visit_mates(search, party, first, false);
}

/* What of it keeps the searched one waiting, or NULL. */
static struct lock *visit_owner(struct search *search, struct lock_owner *owner)
{
    struct lock *lock;
    const struct lock_table *table =
        search->table; /* the first owner's new lock is not listed yet */
    bool only_new = owner == search->owner && !search->waits;

    TAILQ_FOREACH (lock, &owner->locks, owner_link) {
        table = lock->table;
        if (visit_granted(search, lock, only_new) || visit_waiting(search, lock, only_new))
            return lock;
    }
    return only_new ? NULL : visit_party(search, owner->party, table);
}

static bool find_circle(struct lock_space *space, const struct lock *lock, bool waits,
                        struct lock **ret_blocker)
{
    struct lock_owner *owner = lock->owner;
    struct search search = {
        .owner = owner, .table = lock->table, .waits = waits, .number = ++space->last_search};

    STAILQ_INIT(&search.pending);
    for (;;) {
        struct lock *blocker = visit_owner(&search, owner);

        if (blocker != NULL) {
            *ret_blocker = blocker;
            return true;
        }
        owner = STAILQ_FIRST(&search.pending);
        if (owner == NULL)
            return false;
        STAILQ_REMOVE_HEAD(&search.pending, visit_link);
    }
}

static bool owner_waits(const struct lock_owner *owner)
{
    const struct lock *lock;

    TAILQ_FOREACH (lock, &owner->locks, owner_link) {
        if (lock->phase == LOCK_WAITING)
            return true;
    }
    return false;
}

/* A new request that waits can only close a circle through its owner. An upgrade steps before
 * others that wait already, so that they wait for its owner's party, too, as far as that waits on
 * other tables. */
bool lock_deadlock_find(struct lock_space *space, const struct lock *lock,
                        struct lock **ret_blocker)
{
    bool waits = lock->phase == LOCK_WAITING || owner_waits(lock->owner);

    return (waits && find_circle(space, lock, true, ret_blocker)) ||
           (lock->held != LOCK_NONE && find_circle(space, lock, false, ret_blocker));
}
