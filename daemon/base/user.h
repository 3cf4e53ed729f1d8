/* SPDX-License-Identifier: MIT */
/*
 * What one uid uses of the daemon, over all its connections and workers: the count of its
 * connections and sessions, and its share of the helper pool. An account exists while something
 * counts on it.
 */
#ifndef BLKD_DAEMON_BASE_USER_H
#define BLKD_DAEMON_BASE_USER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

#include "daemon/base/helper.h"

struct user {
    uid_t uid;
    unsigned int references;
    unsigned int connections;
    unsigned int sessions;
    unsigned int locks;         /* held and waited for */
    atomic_uint advisory_locks; /* held by those who may only read (lock/lock.h) */
    atomic_uint closing;        /* descriptors that wait to be closed (link/disposal.h) */
    unsigned int pieces;        /* of memory shared with its clients */
    uint64_t memory_bytes;      /* of all of them */
    struct helper_share helper_share;
    struct helper_share look_share; /* looks that nobody waits for (device/size_check.h) */
    UT_hash_handle hh;
};

struct user_table {
    pthread_mutex_t mutex;
    struct user *by_uid;
};

void user_table_init(struct user_table *table);
void user_table_deinit(struct user_table *table);

/* A reference to the uid's account, made if there is none. NULL: no memory. */
struct user *user_ref(struct user_table *table, uid_t uid);
/* Takes NULL; returns NULL. */
struct user *user_unref(struct user_table *table, struct user *user);

/* Count one more, unless the limit is reached: then -EDQUOT. */
int user_add_connection(struct user_table *table, struct user *user, unsigned int limit);
int user_add_session(struct user_table *table, struct user *user, unsigned int limit);
int user_add_lock(struct user_table *table, struct user *user, unsigned int limit);
/* One piece of so many bytes; `limit` is that of all bytes. */
int user_add_memory(struct user_table *table, struct user *user, uint64_t bytes, uint64_t limit);
void user_remove_connection(struct user_table *table, struct user *user);
void user_remove_session(struct user_table *table, struct user *user);
void user_remove_lock(struct user_table *table, struct user *user);
void user_remove_memory(struct user_table *table, struct user *user, uint64_t bytes);

#endif
