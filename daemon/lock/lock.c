/* SPDX-License-Identifier: MIT */
/*
 * Requests for locks: what is reserved, what waits, what is refused; lock.h says by which rules.
 *
 * Invariants, between calls:
 * - whatever could be reserved is: each request in a queue conflicts with something granted or with
 * one that stands before it;
 * - no party waits for itself (but see lock_relate);
 * - a lock is in its owner's list while it holds or wants anything; in the granted list and tree,
 * and among its party's possessions, while it is held or reserved; in the queue, the waiting tree
 * and its party's waits while it waits. An upgrade that waits is in all of them.
 */
#include "daemon/lock/lock.h"

#include "daemon/lock/impl.h"

#include <assert.h>
#include <stddef.h>

void lock_space_init(struct lock_space *space)
{
    *space = (struct lock_space){0};
}

void lock_party_init(struct lock_party *party)
{
    *party = (struct lock_party){0};
    TAILQ_INIT(&party->waits);
    TAILQ_INIT(&party->possessions);
}

void lock_owner_belongs(struct lock_owner *owner, atomic_uint *principal, bool advisory)
{
    owner->principal = principal;
    owner->advisory = advisory;
}

void lock_owner_init(struct lock_owner *owner, struct lock_party *party)
{
    *owner = (struct lock_owner){.party = party};
    TAILQ_INIT(&owner->locks);
}

void lock_table_init(struct lock_table *table, struct lock_space *space)
{
    *table = (struct lock_table){.space = space};
    TAILQ_INIT(&table->queue);
    TAILQ_INIT(&table->granted);
}

static struct lock *find_granted(const struct lock *lock)
{
    const struct lock_table *table = lock->table;
    enum lock_kind kind = lock_conflicting_kind(lock->wanted);
    struct lock *found;

    found = lock_tree_find_other(&table->granted_tree, lock->range, kind, lock->owner);
    for (unsigned int i = 0; found == NULL && i < table->related_count; i++)
        found =
            lock_tree_find_other(&table->related[i]->granted_tree, LOCK_WHOLE, kind, lock->owner);
    return found;
}

static struct lock *first_of_walk(struct lock_walk *walk, const struct lock_table *table)
{
    struct lock_span *span;

    lock_walk_start(walk, &table->waiting_tree);
    span = lock_walk_next(walk);
    return span != NULL ? span->lock : NULL;
}

static struct lock *find_waiting_before(const struct lock *lock)
{
    const struct lock_table *table = lock->table;
    struct lock_walk walk = {
        .range = lock->range,
        .kind = lock_conflicting_kind(lock->wanted),
        .rank_last = lock_rank(lock) - 1,
    };
    struct lock *found = first_of_walk(&walk, table);

    walk.range = LOCK_WHOLE;
    for (unsigned int i = 0; found == NULL && i < table->related_count; i++)
        found = first_of_walk(&walk, table->related[i]);
    table->space->steps += walk.steps;
    return found;
}

/* What stands in the way of what is wanted, or NULL. */
static struct lock *find_blocker(const struct lock *lock)
{
    struct lock *found = find_granted(lock);

    return found != NULL ? found : find_waiting_before(lock);
}

/* Most requests stand behind all others. Only upgrades pass by any, and only by ordinary ones. */
static void queue_insert(struct lock_list *queue, struct lock *lock)
{
    uint64_t rank = lock_rank(lock);
    struct lock *behind = TAILQ_FIRST(queue);

    if (behind == NULL || lock_rank(TAILQ_LAST(queue, lock_list)) < rank) {
        TAILQ_INSERT_TAIL(queue, lock, queue_link);
        return;
    }
    while (lock_rank(behind) < rank)
        behind = TAILQ_NEXT(behind, queue_link);
    TAILQ_INSERT_BEFORE(behind, lock, queue_link);
}

static void enqueue(struct lock *lock)
{
    lock->phase = LOCK_WAITING;
    queue_insert(&lock->table->queue, lock);
    lock_tree_add(&lock->table->waiting_tree, &lock->waiting_span, lock, lock_rank(lock),
                  lock->wanted == LOCK_EXCLUSIVE);
    TAILQ_INSERT_TAIL(&lock->owner->party->waits, lock, party_wait_link);
}

static void dequeue(struct lock *lock)
{
    TAILQ_REMOVE(&lock->table->queue, lock, queue_link);
    lock_tree_remove(&lock->table->waiting_tree, &lock->waiting_span);
    TAILQ_REMOVE(&lock->owner->party->waits, lock, party_wait_link);
}

static void reserve(struct lock *lock)
{
    bool exclusive = lock->wanted == LOCK_EXCLUSIVE;

    lock->phase = LOCK_RESERVED;
    if (lock->held != LOCK_NONE) {
        lock_tree_set_strong(&lock->granted_span, exclusive);
        return;
    }
    TAILQ_INSERT_TAIL(&lock->table->granted, lock, granted_link);
    lock_tree_add(&lock->table->granted_tree, &lock->granted_span, lock, lock->order, exclusive);
    TAILQ_INSERT_TAIL(&lock->owner->party->possessions, lock, party_link);
}

static void ungrant(struct lock *lock)
{
    TAILQ_REMOVE(&lock->table->granted, lock, granted_link);
    lock_tree_remove(&lock->table->granted_tree, &lock->granted_span);
    TAILQ_REMOVE(&lock->owner->party->possessions, lock, party_link);
}

static void settle(struct lock *lock)
{
    lock->phase = LOCK_SETTLED;
    lock->wanted = LOCK_NONE;
}

/* A queue on its way past what was freed. */
struct wake_cursor {
    struct lock *next;       /* NULL: nobody from here on can be reserved */
    struct lock_range freed; /* whoever does not overlap this is not concerned */
};

struct wake {
    unsigned int count;
    struct wake_cursor cursors[1 + LOCK_RELATED_MAX]; /* the table's own, then its related ones' */
};

/* The queue, if anybody in it is concerned at all. */
static struct lock *wake_queue(const struct lock_table *table, struct lock_range freed)
{
    struct lock_walk walk = {.range = freed, .kind = LOCK_KIND_ALL, .rank_last = UINT64_MAX};
    bool concerned = first_of_walk(&walk, table) != NULL;

    table->space->steps += walk.steps;
    return concerned ? TAILQ_FIRST(&table->queue) : NULL;
}

static void wake_start(struct wake *wake, const struct lock_table *table, struct lock_range freed)
{
    wake->count = 1 + table->related_count;
    wake->cursors[0] = (struct wake_cursor){wake_queue(table, freed), freed};
    for (unsigned int i = 0; i < table->related_count; i++)
        wake->cursors[1 + i] =
            (struct wake_cursor){TAILQ_FIRST(&table->related[i]->queue), LOCK_WHOLE};
}

static struct wake_cursor *wake_first(struct wake *wake)
{
    struct wake_cursor *first = NULL;

    for (unsigned int i = 0; i < wake->count; i++) {
        struct wake_cursor *cursor = &wake->cursors[i];

        if (cursor->next != NULL &&
            (first == NULL || lock_rank(cursor->next) < lock_rank(first->next)))
            first = cursor;
    }
    return first;
}

/* An exclusive request that goes on waiting lets nobody by whose bytes it touches. */
static void wake_end_behind(struct wake *wake, struct wake_cursor *cursor, const struct lock *lock)
{
    if (lock->range.first_byte <= cursor->freed.first_byte &&
        lock->range.last_byte >= cursor->freed.last_byte)
        cursor->next = NULL;
    if (cursor != &wake->cursors[0]) {
        wake->cursors[0].next = NULL;
        return;
    }
    for (unsigned int i = 1; i < wake->count; i++)
        wake->cursors[i].next = NULL;
}

/* One that got its lock is no longer in the way of its owner's other requests. */
static void wake_widen(struct wake_cursor *cursor, struct lock_range range)
{
    if (range.first_byte < cursor->freed.first_byte)
        cursor->freed.first_byte = range.first_byte;
    if (range.last_byte > cursor->freed.last_byte)
        cursor->freed.last_byte = range.last_byte;
}

/* Something on the table is no longer in the way of these bytes: reserves what can be reserved now.
 */
static void wake_waiters(const struct lock_table *table, struct lock_range freed,
                         struct lock_list *ret_reserved)
{
    struct wake wake;
    struct wake_cursor *cursor;

    wake_start(&wake, table, freed);
    while ((cursor = wake_first(&wake)) != NULL) {
        struct lock *lock = cursor->next;

        table->space->steps++;
        cursor->next = TAILQ_NEXT(lock, queue_link);
        if (lock->range.last_byte < cursor->freed.first_byte ||
            lock->range.first_byte > cursor->freed.last_byte)
            continue;
        if (find_blocker(lock) == NULL) {
            dequeue(lock);
            reserve(lock);
            TAILQ_INSERT_TAIL(ret_reserved, lock, result_link);
            wake_widen(cursor, lock->range);
        } else if (lock->wanted == LOCK_EXCLUSIVE) {
            wake_end_behind(&wake, cursor, lock);
        }
    }
}

static void pass_on(struct lock *blocker, struct lock **ret_blocker)
{
    if (ret_blocker != NULL)
        *ret_blocker = blocker;
}

/* Decides what is wanted. On refusal the lock is settled as before. */
static enum lock_verdict decide(struct lock *lock, bool may_wait, struct lock **ret_blocker)
{
    struct lock_space *space = lock->table->space;
    struct lock *blocker = find_blocker(lock), *in_cycle;

    if (blocker == NULL) {
        reserve(lock);
        /* Only upgrades can be in the way of those that wait already. */
        if (lock->held == LOCK_NONE || !lock_deadlock_find(space, lock, &in_cycle))
            return LOCK_GRANTED;
        lock_tree_set_strong(&lock->granted_span, false);
        settle(lock);
        pass_on(in_cycle, ret_blocker);
        return LOCK_DEADLOCK;
    }
    if (may_wait) {
        enqueue(lock);
        if (!lock_deadlock_find(space, lock, &in_cycle))
            return LOCK_QUEUED;
        dequeue(lock);
    }
    settle(lock);
    pass_on(blocker, ret_blocker);
    return may_wait ? LOCK_DEADLOCK : LOCK_BUSY;
}

static bool was_granted_or_queued(enum lock_verdict verdict)
{
    return verdict == LOCK_GRANTED || verdict == LOCK_QUEUED;
}

enum lock_verdict lock_request(struct lock_table *table, struct lock *lock,
                               struct lock_owner *owner, struct lock_range range,
                               enum lock_mode mode, bool isolates, bool may_wait,
                               struct lock **ret_blocker)
{
    const struct lock *sibling = TAILQ_FIRST(&owner->locks);
    enum lock_verdict verdict;

    assert(lock->phase == LOCK_SETTLED && lock->held == LOCK_NONE);
    assert(mode == LOCK_EXCLUSIVE || (mode == LOCK_SHARED && !isolates));
    assert(range.first_byte <= range.last_byte);
    assert(sibling == NULL || sibling->table == table);
    *lock = (struct lock){
        .owner = owner,
        .table = table,
        .range = range,
        .wanted = mode,
        .isolates = isolates,
        .order = ++table->space->last_order,
    };
    verdict = decide(lock, may_wait, ret_blocker);
    if (was_granted_or_queued(verdict))
        TAILQ_INSERT_TAIL(&owner->locks, lock, owner_link);
    return verdict;
}

enum lock_verdict lock_upgrade(struct lock *lock, bool isolates, bool may_wait,
                               struct lock **ret_blocker)
{
    uint64_t order = lock->order;
    enum lock_verdict verdict;

    assert(lock->phase == LOCK_SETTLED && lock->held == LOCK_SHARED);
    lock->wanted = LOCK_EXCLUSIVE;
    lock->isolates = isolates;
    lock->order = ++lock->table->space->last_order;
    verdict = decide(lock, may_wait, ret_blocker);
    if (!was_granted_or_queued(verdict)) {
        lock->isolates = false;
        lock->order = order;
    }
    return verdict;
}

void lock_hold(struct lock *lock)
{
    assert(lock->phase == LOCK_RESERVED);
    lock_gate_set(lock, lock->wanted, lock->isolates);
    settle(lock);
}

void lock_cancel(struct lock *lock, struct lock_list *ret_reserved)
{
    assert(lock->phase != LOCK_SETTLED);
    if (lock->phase == LOCK_WAITING)
        dequeue(lock);
    else if (lock->held == LOCK_NONE)
        ungrant(lock);
    else
        lock_tree_set_strong(&lock->granted_span, false);
    settle(lock);
    lock->isolates = false;
    if (lock->held == LOCK_NONE)
        TAILQ_REMOVE(&lock->owner->locks, lock, owner_link);
    wake_waiters(lock->table, lock->range, ret_reserved);
}

void lock_isolate(struct lock *lock, bool isolates)
{
    assert(lock->phase == LOCK_SETTLED && lock->held == LOCK_EXCLUSIVE);
    lock_gate_set(lock, LOCK_EXCLUSIVE, isolates);
    lock->isolates = isolates;
}

struct lock *lock_blocker(const struct lock *lock)
{
    assert(lock->phase == LOCK_WAITING);
    return find_blocker(lock);
}

void lock_downgrade(struct lock *lock, struct lock_list *ret_reserved)
{
    assert(lock->phase == LOCK_SETTLED && lock->held == LOCK_EXCLUSIVE);
    lock_gate_set(lock, LOCK_SHARED, false);
    lock_tree_set_strong(&lock->granted_span, false);
    lock->isolates = false;
    wake_waiters(lock->table, lock->range, ret_reserved);
}

void lock_release(struct lock *lock, struct lock_list *ret_reserved)
{
    assert(lock->phase != LOCK_SETTLED || lock->held != LOCK_NONE);
    if (lock->phase == LOCK_WAITING)
        dequeue(lock);
    if (lock->held != LOCK_NONE || lock->phase == LOCK_RESERVED)
        ungrant(lock);
    if (lock->held != LOCK_NONE)
        lock_gate_set(lock, LOCK_NONE, false);
    settle(lock);
    lock->isolates = false;
    TAILQ_REMOVE(&lock->owner->locks, lock, owner_link);
    wake_waiters(lock->table, lock->range, ret_reserved);
}

enum lock_mode lock_table_mode(const struct lock_table *table)
{
    if (lock_tree_has(&table->granted_tree, LOCK_KIND_STRONG))
        return LOCK_EXCLUSIVE;
    return lock_tree_has(&table->granted_tree, LOCK_KIND_ALL) ? LOCK_SHARED : LOCK_NONE;
}

enum lock_mode lock_owner_held(const struct lock_owner *owner)
{
    enum lock_mode strongest = LOCK_NONE;
    const struct lock *lock;

    TAILQ_FOREACH (lock, &owner->locks, owner_link) {
        if (lock->held > strongest)
            strongest = lock->held;
    }
    return strongest;
}

struct lock *lock_owner_find(const struct lock_owner *owner, struct lock_range range)
{
    struct lock *lock;

    TAILQ_FOREACH (lock, &owner->locks, owner_link) {
        if (lock->range.first_byte == range.first_byte && lock->range.last_byte == range.last_byte)
            return lock;
    }
    return NULL;
}

unsigned int lock_queue_position(const struct lock *lock)
{
    unsigned int position = 0;

    assert(lock->phase == LOCK_WAITING);
    while ((lock = TAILQ_PREV(lock, lock_list, queue_link)) != NULL)
        position++;
    return position;
}

const char *lock_mode_name(enum lock_mode mode)
{
    switch (mode) {
    case LOCK_NONE:
        return "none";
    case LOCK_SHARED:
        return "shared";
    case LOCK_EXCLUSIVE:
        return "exclusive";
    }
    return "unknown";
}
