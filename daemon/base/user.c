/* SPDX-License-Identifier: MIT */
#include "daemon/base/user.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/limits.h"

void user_table_init(struct user_table *table)
{
    (void)pthread_mutex_init(&table->mutex, NULL);
    table->by_uid = NULL;
}

void user_table_deinit(struct user_table *table)
{
    assert(table->by_uid == NULL);
    (void)pthread_mutex_destroy(&table->mutex);
}

static struct user *user_new(struct user_table *table, uid_t uid)
{
    struct user *user = calloc(1, sizeof(*user));
    if (user == NULL)
        return NULL;
    user->uid = uid;
    helper_share_init(&user->helper_share, HELPER_PER_UID);
    helper_share_init(&user->look_share, HELPER_LOOKS_PER_UID);
    HASH_ADD(hh, table->by_uid, uid, sizeof(user->uid), user);
    return user;
}

struct user *user_ref(struct user_table *table, uid_t uid)
{
    struct user *user = NULL;
    pthread_mutex_lock(&table->mutex);
    HASH_FIND(hh, table->by_uid, &uid, sizeof(uid), user);
    if (user == NULL)
        user = user_new(table, uid);
    if (user != NULL)
        user->references++;
    pthread_mutex_unlock(&table->mutex);
    return user;
}

struct user *user_unref(struct user_table *table, struct user *user)
{
    if (user == NULL)
        return NULL;
    pthread_mutex_lock(&table->mutex);
    if (--user->references == 0) {
        HASH_DEL(table->by_uid, user);
        helper_share_deinit(&user->helper_share);
        helper_share_deinit(&user->look_share);
        free(user);
    }
    pthread_mutex_unlock(&table->mutex);
    return NULL;
}

static int user_add(struct user_table *table, unsigned int *count, unsigned int limit)
{
    int result = -EDQUOT;
    pthread_mutex_lock(&table->mutex);
    if (*count < limit) {
        (*count)++;
        result = 0;
    }
    pthread_mutex_unlock(&table->mutex);
    return result;
}

static void user_remove(struct user_table *table, unsigned int *count)
{
    pthread_mutex_lock(&table->mutex);
    assert(*count > 0);
    (*count)--;
    pthread_mutex_unlock(&table->mutex);
}

int user_add_connection(struct user_table *table, struct user *user, unsigned int limit)
{
    return user_add(table, &user->connections, limit);
}

int user_add_session(struct user_table *table, struct user *user, unsigned int limit)
{
    return user_add(table, &user->sessions, limit);
}

int user_add_lock(struct user_table *table, struct user *user, unsigned int limit)
{
    return user_add(table, &user->locks, limit);
}

void user_remove_connection(struct user_table *table, struct user *user)
{
    user_remove(table, &user->connections);
}

void user_remove_session(struct user_table *table, struct user *user)
{
    user_remove(table, &user->sessions);
}

void user_remove_lock(struct user_table *table, struct user *user)
{
    user_remove(table, &user->locks);
}

int user_add_memory(struct user_table *table, struct user *user, uint64_t bytes, uint64_t limit)
{
    int result = -EDQUOT;
    pthread_mutex_lock(&table->mutex);
    if (user->pieces < PIECES_PER_UID_MAX && bytes <= limit &&
        user->memory_bytes <= limit - bytes) {
        user->pieces++;
        user->memory_bytes += bytes;
        result = 0;
    }
    pthread_mutex_unlock(&table->mutex);
    return result;
}

void user_remove_memory(struct user_table *table, struct user *user, uint64_t bytes)
{
    pthread_mutex_lock(&table->mutex);
    assert(user->pieces > 0 && user->memory_bytes >= bytes);
    user->pieces--;
    user->memory_bytes -= bytes;
    pthread_mutex_unlock(&table->mutex);
}
