/* SPDX-License-Identifier: MIT */
/*
 * What lock.h promises, said naively, for test_lock_model.c: one plain list of all that wait on any
 * table, every pair asked whether it conflicts, owners that wait for themselves found by closing
 * the matrix of who waits for whom.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_LOCK_MODEL_H
#define BLKD_TESTS_UNIT_DAEMON_LOCK_MODEL_H

#include "daemon/lock/lock.h"

#include <check.h>
#include <string.h>

enum { MAX_LOCKS = 64, MAX_OWNERS = 24, MAX_TABLES = 6, MAX_PARTIES = 8 };

/* What a run has of each. */
struct world_size {
    int tables, parties, owners, locks;
    int isolate_percent, shared_percent;
};

struct model_lock {
    bool used;
    int owner, table;
    struct lock_range range;
    enum lock_mode held, wanted;
    enum lock_phase phase;
    bool isolating;      /* what is held */
    bool will_isolate;   /* what is wanted */
    unsigned long since; /* the step of its first reservation */
};

struct model {
    struct model_lock locks[MAX_LOCKS];
    int queue[MAX_LOCKS]; /* all that wait */
    int queue_length;
    bool related[MAX_TABLES][MAX_TABLES];
    bool stale[MAX_OWNERS];
};

static struct world_size size;
static struct model model;
static unsigned long reservations;

static int party_of(int owner)
{
    return owner % size.parties;
}

static enum lock_mode granted_mode(const struct model_lock *lock)
{
    return lock->phase == LOCK_RESERVED ? lock->wanted : lock->held;
}

static bool touch(const struct model_lock *one, int table, struct lock_range range)
{
    if (one->table != table)
        return model.related[one->table][table];
    return !(one->range.last_byte < range.first_byte || range.last_byte < one->range.first_byte);
}

static bool clash(const struct model_lock *one, enum lock_mode mode, const struct model_lock *other,
                  enum lock_mode other_mode)
{
    return mode != LOCK_NONE && other_mode != LOCK_NONE &&
           (mode == LOCK_EXCLUSIVE || other_mode == LOCK_EXCLUSIVE) &&
           touch(one, other->table, other->range);
}

static bool granted_in_way(int i, int j)
{
    const struct model_lock *one = &model.locks[i], *other = &model.locks[j];

    return other->used && one->owner != other->owner &&
           clash(one, one->wanted, other, granted_mode(other));
}

static int queue_place(int i)
{
    int place = 0;

    while (place < model.queue_length && model.queue[place] != i)
        place++;
    return place;
}

/* Where one that is not in the queue would be put. */
static int new_place(int i)
{
    int place = 0;

    if (model.locks[i].held == LOCK_NONE)
        return model.queue_length;
    while (place < model.queue_length && model.locks[model.queue[place]].held != LOCK_NONE)
        place++;
    return place;
}

static bool blocked(int i, int place)
{
    for (int j = 0; j < size.locks; j++) {
        if (granted_in_way(i, j))
            return true;
    }
    for (int k = 0; k < place; k++) {
        const struct model_lock *before = &model.locks[model.queue[k]];

        if (clash(&model.locks[i], model.locks[i].wanted, before, before->wanted))
            return true;
    }
    return false;
}

static void queue_put(int i)
{
    int place = new_place(i);

    memmove(&model.queue[place + 1], &model.queue[place],
            sizeof(int) * (size_t)(model.queue_length - place));
    model.queue[place] = i;
    model.queue_length++;
    model.locks[i].phase = LOCK_WAITING;
}

static void queue_take(int i)
{
    int place = queue_place(i);

    ck_assert_int_lt(place, model.queue_length);
    model.queue_length--;
    memmove(&model.queue[place], &model.queue[place + 1],
            sizeof(int) * (size_t)(model.queue_length - place));
}

typedef bool owner_matrix[MAX_OWNERS][MAX_OWNERS];

static bool has_waiting(int owner, int other_than_table)
{
    for (int place = 0; place < model.queue_length; place++) {
        const struct model_lock *waiter = &model.locks[model.queue[place]];

        if (waiter->owner == owner && waiter->table != other_than_table)
            return true;
    }
    return false;
}

/* Who waits for what another has or will have, waits for those of its party, too, that wait on
 * other tables. */
static void wait_for_other(bool *row, int waiter, const struct model_lock *other)
{
    row[other->owner] = true;
    if (party_of(waiter) == party_of(other->owner))
        return;
    for (int mate = 0; mate < size.owners; mate++) {
        if (mate != other->owner && party_of(mate) == party_of(other->owner) &&
            has_waiting(mate, other->table))
            row[mate] = true;
    }
}

/* Who waits for whom, be it along others. */
static void close_waits(owner_matrix waits)
{
    memset(waits, 0, sizeof(owner_matrix));
    for (int place = 0; place < model.queue_length; place++) {
        int i = model.queue[place];
        const struct model_lock *waiter = &model.locks[i];
        bool *row = waits[waiter->owner];

        for (int j = 0; j < size.locks; j++) {
            if (granted_in_way(i, j))
                wait_for_other(row, waiter->owner, &model.locks[j]);
        }
        for (int k = 0; k < place; k++) {
            const struct model_lock *before = &model.locks[model.queue[k]];

            if (before->owner != waiter->owner &&
                clash(waiter, waiter->wanted, before, before->wanted))
                wait_for_other(row, waiter->owner, before);
        }
    }
    for (int k = 0; k < size.owners; k++) {
        for (int i = 0; i < size.owners; i++) {
            for (int j = 0; j < size.owners; j++)
                waits[i][j] = waits[i][j] || (waits[i][k] && waits[k][j]);
        }
    }
}

static bool any_in_cycle(void)
{
    owner_matrix waits;
    bool any = false;

    close_waits(waits);
    for (int i = 0; i < size.owners; i++)
        any = any || waits[i][i];
    return any;
}

static void model_reserve(int i)
{
    if (model.locks[i].held == LOCK_NONE)
        model.locks[i].since = ++reservations;
    model.locks[i].phase = LOCK_RESERVED;
}

/* model.locks[i] has all but its phase. */
static enum lock_verdict model_decide(int i, bool may_wait)
{
    if (!blocked(i, new_place(i))) {
        model_reserve(i);
        if (!any_in_cycle())
            return LOCK_GRANTED;
        ck_assert_int_eq(model.locks[i].held, LOCK_SHARED);
        return LOCK_DEADLOCK;
    }
    if (!may_wait)
        return LOCK_BUSY;
    queue_put(i);
    if (!any_in_cycle())
        return LOCK_QUEUED;
    queue_take(i);
    return LOCK_DEADLOCK;
}

#endif
