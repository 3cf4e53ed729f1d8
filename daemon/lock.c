/* SPDX-License-Identifier: MIT */
/*
 * The lock table of one device; lock.h says what it is for.
 *
 * Invariant: the holders are any number of shared ones, or one exclusive one alone. So the first
 * holder is the strongest, and an exclusive holder has nobody beside it to be asked about.
 */
#include "daemon/lock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

void lock_table_init(struct lock_table *table)
{
    TAILQ_INIT(&table->holders);
}

void lock_owner_init(struct lock_owner *owner)
{
    *owner = (struct lock_owner){.mode = LOCK_NONE};
}

static int refuse(const struct lock_owner *holder, const struct lock_owner **ret_holder)
{
    if (ret_holder != NULL)
        *ret_holder = holder;
    return -EBUSY;
}

int lock_try(struct lock_table *table, struct lock_owner *owner, enum lock_mode mode,
             const struct lock_owner **ret_holder)
{
    const struct lock_owner *first = TAILQ_FIRST(&table->holders);

    assert(mode != LOCK_NONE);
    assert(owner->mode == LOCK_NONE);
    if (first != NULL && (mode == LOCK_EXCLUSIVE || first->mode == LOCK_EXCLUSIVE))
        return refuse(first, ret_holder);
    owner->mode = mode;
    TAILQ_INSERT_TAIL(&table->holders, owner, link);
    return 0;
}

void lock_release(struct lock_table *table, struct lock_owner *owner)
{
    if (owner->mode == LOCK_NONE)
        return;
    TAILQ_REMOVE(&table->holders, owner, link);
    owner->mode = LOCK_NONE;
}

static const struct lock_owner *first_beside(const struct lock_table *table,
                                             const struct lock_owner *owner)
{
    const struct lock_owner *holder = TAILQ_FIRST(&table->holders);

    return holder != NULL && holder == owner ? TAILQ_NEXT(holder, link) : holder;
}

int lock_may_write(const struct lock_table *table, const struct lock_owner *owner,
                   const struct lock_owner **ret_holder)
{
    const struct lock_owner *holder = first_beside(table, owner);

    return holder == NULL ? 0 : refuse(holder, ret_holder);
}

enum lock_mode lock_table_mode(const struct lock_table *table)
{
    const struct lock_owner *first = TAILQ_FIRST(&table->holders);

    return first == NULL ? LOCK_NONE : first->mode;
}

enum lock_mode lock_mode_beside(const struct lock_table *table, const struct lock_owner *owner)
{
    const struct lock_owner *first = first_beside(table, owner);

    return first == NULL ? LOCK_NONE : first->mode;
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
