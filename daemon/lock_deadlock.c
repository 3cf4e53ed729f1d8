/* SPDX-License-Identifier: MIT */
/*
 * Does a party wait for itself? (CONTRACT L7)
 *
 * Searched backwards: from what the party has, to the requests that wait for that, to what their
 * parties have, and so on, until a request of the first party turns up. Most parties have little
 * that anybody waits for, while a request in a long queue waits for thousands. Each party is
 * visited once; the walks pass by requests whose parties were.
 *
 * An owner's request that waits behind another of its own is not waiting for itself: the first one
 * will be granted when what it waits for ends, and then the second.
 */
#include "daemon/lock_impl.h"

#include <stddef.h>

STAILQ_HEAD(party_list, lock_party);

struct search {
    struct lock_party *party;
    uint64_t number;
    struct party_list pending; /* to be visited; visit_link */
};

/* Those that wait for `lock` on one table: true if one of them is the party's. */
static bool visit_waiters(struct search *search, const struct lock *lock, struct lock_walk *walk,
                          const struct lock_table *table)
{
    struct lock_span *span;

    lock_walk_start(walk, &table->waiting_tree);
    while ((span = lock_walk_next(walk)) != NULL) {
        const struct lock_owner *owner = span->lock->owner;

        if (owner == lock->owner)
            continue;
        if (owner->party == search->party)
            return true;
        span->seen = search->number;
        if (owner->party->visit == search->number)
            continue;
        owner->party->visit = search->number;
        STAILQ_INSERT_TAIL(&search->pending, owner->party, visit_link);
    }
    return false;
}

/* As above, on all tables, for a lock that keeps those waiting which stand behind `rank`. */
static bool visit_lock(struct search *search, const struct lock *lock, enum lock_mode mode,
                       uint64_t rank)
{
    const struct lock_table *table = lock->table;
    struct lock_walk walk = {
        .range = lock->range,
        .kind = lock_conflicting_kind(mode),
        .rank_first = rank + 1,
        .rank_last = UINT64_MAX,
        .search = search->number,
    };
    bool found = visit_waiters(search, lock, &walk, table);

    walk.range = LOCK_WHOLE;
    for (unsigned int i = 0; !found && i < table->related_count; i++)
        found = visit_waiters(search, lock, &walk, table->related[i]);
    table->space->steps += walk.steps;
    return found;
}

/* What of the party's keeps the searched one waiting, or NULL. */
static struct lock *visit_party(struct search *search, const struct lock_party *party)
{
    struct lock *lock;

    TAILQ_FOREACH (lock, &party->possessions, party_link) {
        if (visit_lock(search, lock, lock_granted_mode(lock), 0))
            return lock;
    }
    TAILQ_FOREACH (lock, &party->waits, party_wait_link) {
        if (visit_lock(search, lock, lock->wanted, lock_rank(lock)))
            return lock;
    }
    return NULL;
}

bool lock_deadlock_find(struct lock_space *space, struct lock_party *party,
                        struct lock **ret_blocker)
{
    struct search search = {.party = party, .number = ++space->last_search};

    STAILQ_INIT(&search.pending);
    for (;;) {
        struct lock *blocker = visit_party(&search, party);

        if (blocker != NULL) {
            *ret_blocker = blocker;
            return true;
        }
        party = STAILQ_FIRST(&search.pending);
        if (party == NULL)
            return false;
        STAILQ_REMOVE_HEAD(&search.pending, visit_link);
    }
}
