/* SPDX-License-Identifier: MIT */
/*
 * Who may touch a device: the locks of one device's sessions. A pure state machine: no I/O, no
 * clock, no mutex of its own; the device's mutex is held around every call. What the outside world
 * is told (flock and the like) follows from lock_table_mode and is the backend's work.
 *
 * First form (CONTRACT L1, L2): whole-device locks, taken or refused at once.
 */
#ifndef BLKD_DAEMON_LOCK_H
#define BLKD_DAEMON_LOCK_H

#include <stdbool.h>
#include <sys/queue.h>

enum lock_mode {
    LOCK_NONE,
    LOCK_SHARED,
    LOCK_EXCLUSIVE,
};

/* One session's part; embedded in the session. */
struct lock_owner {
    enum lock_mode mode;
    TAILQ_ENTRY(lock_owner) link; /* in the table while mode is not LOCK_NONE */
};

TAILQ_HEAD(lock_owner_list, lock_owner);

struct lock_table {
    struct lock_owner_list holders; /* in the order of their grants */
};

void lock_table_init(struct lock_table *table);
void lock_owner_init(struct lock_owner *owner);

/* Takes `mode` (shared or exclusive) for an owner that holds nothing. Returns 0, or -EBUSY with the
 * holder that stands in the way in *ret_holder (may be NULL) and nothing changed. */
int lock_try(struct lock_table *table, struct lock_owner *owner, enum lock_mode mode,
             const struct lock_owner **ret_holder);

/* Lets go of what the owner holds, if anything. */
void lock_release(struct lock_table *table, struct lock_owner *owner);

/* Whether `owner` may change the device (write, discard, zero, resize) now: it holds an exclusive
 * lock, or nobody else holds any. Returns 0, or -EBUSY with a holder that stands in the way. A
 * shared lock does not let its owner write beside another holder. */
int lock_may_write(const struct lock_table *table, const struct lock_owner *owner,
                   const struct lock_owner **ret_holder);

/* The strongest mode that is held. */
enum lock_mode lock_table_mode(const struct lock_table *table);

/* The strongest mode that others than `owner` hold: what is left when it lets go. */
enum lock_mode lock_mode_beside(const struct lock_table *table, const struct lock_owner *owner);

/* "none", "shared", "exclusive". */
const char *lock_mode_name(enum lock_mode mode);

#endif
