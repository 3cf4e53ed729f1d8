/* SPDX-License-Identifier: MIT */
/*
 * Who may touch which bytes now: asked for every transfer, under the device's mutex alone. So all
 * that lock_may_read and lock_may_change look at is written in this file, with that mutex held: the
 * tree of held locks, the counts of them here and on related tables, and whether an owner is stale.
 * What they read of a lock, its range and owner, does not change while it is in the tree.
 */
#include "daemon/lock/impl.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

static void counts_move(struct lock_counts *counts, const struct lock_counts *by, int sign)
{
    counts->all += sign * by->all;
    counts->exclusive += sign * by->exclusive;
    counts->isolating += sign * by->isolating;
    counts->advisory += sign * by->advisory;
}

/* A held lock comes (1) or goes (-1). */
static void count(struct lock_table *table, const struct lock *lock, enum lock_mode mode,
                  bool isolates, int sign)
{
    const struct lock_counts one = {
        .all = mode != LOCK_NONE,
        .exclusive = mode == LOCK_EXCLUSIVE,
        .isolating = isolates && !lock->owner->advisory,
        .advisory = mode != LOCK_NONE && lock->owner->advisory,
    };

    counts_move(&table->held, &one, sign);
    for (unsigned int i = 0; i < table->related_count; i++)
        counts_move(&table->related[i]->related_held, &one, sign);
    if (one.advisory > 0 && lock->owner->principal != NULL)
        (void)atomic_fetch_add(lock->owner->principal, (unsigned int)sign);
}

void lock_gate_set(struct lock *lock, enum lock_mode mode, bool isolates)
{
    struct lock_table *table = lock->table;
    struct lock_tree *tree = lock->owner->advisory ? &table->advisory_tree : &table->held_tree;

    if (lock->held != LOCK_NONE)
        count(table, lock, lock->held, lock->held_span.strong, -1);
    count(table, lock, mode, isolates, 1);
    if (mode == LOCK_NONE)
        lock_tree_remove(tree, &lock->held_span);
    else if (lock->held == LOCK_NONE)
        lock_tree_add(tree, &lock->held_span, lock, lock->order, isolates);
    else
        lock_tree_set_strong(&lock->held_span, isolates);
    lock->held = mode;
}

static bool is_related(const struct lock_table *one, const struct lock_table *other)
{
    for (unsigned int i = 0; i < one->related_count; i++) {
        if (one->related[i] == other)
            return true;
    }
    return false;
}

static void relate_to(struct lock_table *table, struct lock_table *other)
{
    table->related[table->related_count++] = other;
    counts_move(&table->related_held, &other->held, 1);
}

int lock_relate(struct lock_table *one, struct lock_table *other)
{
    assert(one != other && one->space == other->space);
    if (is_related(one, other))
        return 0;
    if (one->related_count == LOCK_RELATED_MAX || other->related_count == LOCK_RELATED_MAX)
        return -EDQUOT;
    relate_to(one, other);
    relate_to(other, one);
    return 0;
}

static void forget(struct lock_table *table, const struct lock_table *other)
{
    unsigned int i = 0;

    while (table->related[i] != other)
        i++;
    table->related[i] = table->related[--table->related_count];
}

void lock_unrelate(struct lock_table *table)
{
    assert(TAILQ_EMPTY(&table->granted) && TAILQ_EMPTY(&table->queue));
    while (table->related_count > 0)
        forget(table->related[--table->related_count], table);
    table->related_held = (struct lock_counts){0};
}

void lock_break(struct lock_owner *owner)
{
    owner->stale = true;
}

void lock_forgive(struct lock_owner *owner)
{
    owner->stale = false;
}

/* `related`: how many locks on related tables are in the way; they are never the owner's own. */
static int pass(const struct lock_table *table, const struct lock_owner *owner,
                struct lock_range range, enum lock_kind kind, int related,
                const struct lock **ret_blocker)
{
    const struct lock *blocker = lock_tree_find_other(&table->held_tree, range, kind, owner);

    if (blocker == NULL && related == 0)
        return 0;
    if (ret_blocker != NULL)
        *ret_blocker = blocker;
    return -EBUSY;
}

int lock_may_read(const struct lock_table *table, const struct lock_owner *owner,
                  struct lock_range range, const struct lock **ret_blocker)
{
    if (table->held.isolating == 0 && table->related_held.isolating == 0)
        return 0;
    return pass(table, owner, range, LOCK_KIND_STRONG, table->related_held.isolating, ret_blocker);
}

/* An advisory lock of another owner of the same principal. Who has none anywhere does not look for
 * it among the many that others may have. */
static const struct lock *find_own_advisory(const struct lock_table *table,
                                            const struct lock_owner *owner, struct lock_range range)
{
    struct lock_walk walk = {.range = range, .kind = LOCK_KIND_ALL, .rank_last = UINT64_MAX};
    const struct lock_span *span = NULL;

    if (table->held.advisory == 0 || owner->principal == NULL || atomic_load(owner->principal) == 0)
        return NULL;
    lock_walk_start(&walk, &table->advisory_tree);
    while ((span = lock_walk_next(&walk)) != NULL) {
        if (span->lock->owner != owner && span->lock->owner->principal == owner->principal)
            return span->lock;
    }
    return NULL;
}

int lock_may_change(const struct lock_table *table, const struct lock_owner *owner,
                    struct lock_range range, const struct lock **ret_blocker)
{
    int related = table->related_held.all - table->related_held.advisory;

    if (owner->stale)
        return -ESTALE;
    if (table->held.all == 0 && related == 0)
        return 0;
    const struct lock *blocker = find_own_advisory(table, owner, range);
    if (blocker == NULL)
        return pass(table, owner, range, LOCK_KIND_ALL, related, ret_blocker);
    if (ret_blocker != NULL)
        *ret_blocker = blocker;
    return -EBUSY;
}

enum lock_mode lock_table_held(const struct lock_table *table)
{
    if (table->held.all == 0)
        return LOCK_NONE;
    return table->held.exclusive > 0 ? LOCK_EXCLUSIVE : LOCK_SHARED;
}
