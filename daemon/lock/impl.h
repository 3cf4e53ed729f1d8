/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room know of each other; lock.h is for everybody else.
 *
 * lock.c grants and queues. It uses conflict.c, which says who may touch the bytes now, and
 * deadlock.c, which looks for parties that wait for themselves. All three find locks by range in
 * tree.c.
 */
#ifndef BLKD_DAEMON_LOCK_IMPL_H
#define BLKD_DAEMON_LOCK_IMPL_H

#include "daemon/lock/lock.h"

/* Where a request stands among all that wait, on all tables: upgrades first. */
static inline uint64_t lock_rank(const struct lock *lock)
{
    const uint64_t ordinary = UINT64_C(1) << 63;

    return lock->held == LOCK_NONE ? lock->order | ordinary : lock->order;
}

/* What others have to reckon with. */
static inline enum lock_mode lock_granted_mode(const struct lock *lock)
{
    return lock->phase == LOCK_RESERVED ? lock->wanted : lock->held;
}

/* Which locks conflict with one of this mode. */
static inline enum lock_kind lock_conflicting_kind(enum lock_mode mode)
{
    return mode == LOCK_EXCLUSIVE ? LOCK_KIND_ALL : LOCK_KIND_STRONG;
}

/* Whether somebody waits for itself now that `lock` was just queued or reserved. *ret_blocker: a
 * lock that keeps one of that circle waiting. */
bool lock_deadlock_find(struct lock_space *space, const struct lock *lock,
                        struct lock **ret_blocker);

/* What the lock holds is `mode` from now on, LOCK_NONE included (GATE). */
void lock_gate_set(struct lock *lock, enum lock_mode mode, bool isolates);

#endif
