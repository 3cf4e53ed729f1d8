/* SPDX-License-Identifier: MIT */
/* A session's lock as such: made, found, woken, told of, forgotten. */
#include "daemon/device/session_lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/device/session.h"
#include "daemon/device/session_lock_impl.h"

/* ---- made and forgotten ---- */

int session_lock_new(struct session *session, const struct session_lock_ask *ask,
                     struct session_lock **ret_held)
{
    struct commons *commons = session->device->commons;
    struct user *user = session->client.user;
    if (session->lock_count >= LOCKS_PER_SESSION_MAX)
        return -EDQUOT;
    int error = user_add_lock(commons->users, user, commons->locks_per_uid);
    if (error < 0)
        return error;
    struct session_lock *held = calloc(1, sizeof(*held));
    if (held == NULL) {
        user_remove_lock(commons->users, user);
        return -ENOMEM;
    }
    held->session = session;
    held->lock.range = ask->range;
    held->since_unix_ms = clock_unix_ms();
    const char *purpose =
        ask->purpose != NULL && *ask->purpose != '\0' ? ask->purpose : session->purpose;
    (void)snprintf(held->purpose, sizeof(held->purpose), "%s", purpose);
    pthread_mutex_lock(&commons->locks.mutex);
    held->number = ++commons->locks.last_lock;
    pthread_mutex_unlock(&commons->locks.mutex);
    TAILQ_INSERT_TAIL(&session->locks, held, link);
    session->lock_count++;
    *ret_held = held;
    return 0;
}

void session_lock_forget(struct session_lock *held)
{
    struct session *session = held->session;
    TAILQ_REMOVE(&session->locks, held, link);
    session->lock_count--;
    user_remove_lock(session->device->commons->users, session->client.user);
    if (held->counted) {
        held->counted = false;
        session->client.owner->ops->on_locks_changed(session->client.owner, -1);
    }
}

void session_lock_count(struct session_lock *held)
{
    struct session_owner *owner = held->session->client.owner;
    if (!held->counted)
        owner->ops->on_locks_changed(owner, 1);
    held->counted = true;
}

struct session_lock *session_lock_find(struct session *session, struct lock_range range)
{
    struct session_lock *held = NULL;
    TAILQ_FOREACH (held, &session->locks, link) {
        if (held->lock.range.first_byte == range.first_byte &&
            held->lock.range.last_byte == range.last_byte)
            return held;
    }
    return NULL;
}

enum lock_mode session_lock_mode(const struct session_lock *held)
{
    struct device *device = held->session->device;
    pthread_mutex_lock(&device->mutex);
    enum lock_mode mode = held->lock.held;
    pthread_mutex_unlock(&device->mutex);
    return mode;
}

void session_lock_wake(struct lock_list *reserved)
{
    while (!TAILQ_EMPTY(reserved)) {
        struct lock *lock = TAILQ_FIRST(reserved);
        struct session_lock *held = CONTAINER_OF(lock, struct session_lock, lock);
        TAILQ_REMOVE(reserved, lock, result_link);
        loop_post(&held->session->client.loop->base, &held->letter);
    }
}

/* ---- words ---- */

void session_describe(const struct session *session, char *text, size_t size)
{
    const struct peer *peer = &session->client.peer;
    (void)snprintf(text, size, "session %llu (pid %d, uid %u, %s)",
                   (unsigned long long)session->number, (int)peer->pid, (unsigned int)peer->uid,
                   peer->command);
}

void session_lock_describe(const struct lock *lock, char *text, size_t size)
{
    const struct session_lock *held = CONTAINER_OF_CONST(lock, struct session_lock, lock);
    char who[160];
    char since[32] = "";
    struct tm when;
    time_t seconds = (time_t)(held->since_unix_ms / 1000);
    session_describe(held->session, who, sizeof(who));
    if (gmtime_r(&seconds, &when) != NULL)
        (void)strftime(since, sizeof(since), "%F %T UTC", &when);
    bool waits = lock->held == LOCK_NONE;
    (void)snprintf(
        text, size, "%s %s %s lock on %s since %s%s%s", who, waits ? "waits for the" : "holds the",
        lock_mode_name(waits ? lock->wanted : lock->held),
        lock->range.first_byte == 0 && lock->range.last_byte == UINT64_MAX ? "it" : "a part of it",
        since, *held->purpose != '\0' ? ": " : "", held->purpose);
}

void session_lock_log(const struct session_lock *held, enum log_level level, const char *event,
                      int error)
{
    const struct session *session = held->session;
    struct log_line line;
    if (!log_enabled(level))
        return;
    log_begin(&line, level, event);
    log_number(&line, "session", session->number);
    log_number(&line, "device", session->device->number);
    log_text(&line, "path", session->path);
    log_text(&line, "mode", lock_mode_name(held->asked));
    if (held->token != 0)
        log_number(&line, "token", held->token);
    if (*held->purpose != '\0')
        log_text(&line, "purpose", held->purpose);
    peer_log(&session->client.peer, &line);
    if (error < 0) {
        log_errno(&line, error);
        log_text(&line, "reason", held->message);
    }
    log_end(&line);
}

void session_lock_tell(const struct session_lock *held, enum happening_what what,
                       enum lock_mode mode)
{
    const struct happening_detail detail = {
        .mode = mode, .range = held->lock.range, .token = held->token, .purpose = held->purpose};
    struct session *session = held->session;
    commons_tell(session->device->commons, what, session->device, session, &detail);
}
