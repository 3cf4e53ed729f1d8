/* SPDX-License-Identifier: MIT */
/* How a session lets go of its locks, and takes notice of those that it has lost. session_lock.h
 * says what it is for. */
#include <errno.h>
#include <stdlib.h>

#include "common/container.h"
#include "daemon/device/session.h"
#include "daemon/device/session_lock_impl.h"

static bool range_covers(struct lock_range outer, struct lock_range inner)
{
    return outer.first_byte <= inner.first_byte && inner.last_byte <= outer.last_byte;
}

static bool range_meets(struct lock_range one, struct lock_range other)
{
    return one.first_byte <= other.last_byte && other.first_byte <= one.last_byte;
}

int session_unlock_check(struct session *session, struct lock_range range, const char **ret_reason)
{
    struct session_lock *held = NULL;
    TAILQ_FOREACH (held, &session->locks, link) {
        if (!range_meets(range, held->lock.range))
            continue;
        if (!range_covers(range, held->lock.range)) {
            *ret_reason =
                "a lock lies only partly in this range: unlock exactly the range that was locked";
            return -EINVAL;
        }
        if (held->state != SESSION_LOCK_IDLE) {
            *ret_reason = "a lock request for this range is still pending: wait for its reply";
            return -EALREADY;
        }
    }
    return 0;
}

static void session_lock_log_released(const struct session_lock *held)
{
    const struct session *session = held->session;
    struct log_line line;
    if (!log_enabled(LOG_LEVEL_INFO))
        return;
    log_begin(&line, LOG_LEVEL_INFO, "lock-released");
    log_number(&line, "session", session->number);
    log_number(&line, "device", session->device->number);
    log_text(&line, "path", session->path);
    peer_log(&session->client.peer, &line);
    log_end(&line);
}

/* Whether a lock of it is being broken and has not fallen yet. */
static bool session_is_doomed(const struct session *session)
{
    const struct lock *lock = NULL;
    TAILQ_FOREACH (lock, &session->lock.locks, owner_link) {
        if (lock->held != LOCK_NONE &&
            CONTAINER_OF_CONST(lock, struct session_lock, lock)->doomed != 0)
            return true;
    }
    return false;
}

/* An old holder that goes on and lets go of one range knows nothing of the others yet. */
void session_lock_forgive(struct session *session, struct lock_range range)
{
    if (session_is_doomed(session))
        return;
    if (!range_covers(range, session->losses.range))
        return;
    session->losses.range = LOCK_NOTHING;
    lock_forgive(&session->lock);
}

/* With all that relations_enter takes. */
static void session_unlock_entered(struct session *session, struct lock_range range,
                                   struct session_lock_list *released)
{
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    struct session_lock *next = NULL;
    for (struct session_lock *held = TAILQ_FIRST(&session->locks); held != NULL; held = next) {
        next = TAILQ_NEXT(held, link);
        if (!range_covers(range, held->lock.range))
            continue;
        if (held->lock.held != LOCK_NONE) {
            session_lock_tell(held, HAPPENING_LOCK_RELEASED, held->lock.held);
            lock_release(&held->lock, &reserved);
        }
        TAILQ_REMOVE(&session->locks, held, link);
        TAILQ_INSERT_TAIL(released, held, link);
    }
    session_lock_forgive(session, range);
    session_lock_wake(&reserved);
}

static void session_free_released(struct session *session, struct session_lock_list *released)
{
    while (!TAILQ_EMPTY(released)) {
        struct session_lock *held = TAILQ_FIRST(released);
        session_lock_log_released(held);
        TAILQ_REMOVE(released, held, link);
        TAILQ_INSERT_TAIL(&session->locks, held, link);
        session_lock_forget(held);
        free(held);
    }
}

int session_unlock(struct session *session, struct lock_range range, struct guard_wait *wait,
                   const char **ret_reason)
{
    struct session_lock_list released = TAILQ_HEAD_INITIALIZER(released);
    int error = session_unlock_check(session, range, ret_reason);
    if (error < 0)
        return error;
    relations_enter(session->device);
    session_unlock_entered(session, range, &released);
    relations_leave(session->device);
    session_free_released(session, &released);
    guard_settle(session->device, wait);
    return 0;
}

struct session_lock *session_lock_take_use(struct session *session, struct lock_range range)
{
    session_lock_sweep(session);
    struct session_lock *held = session_lock_find(session, range);
    if (held == NULL || held->state != SESSION_LOCK_IDLE ||
        session_lock_mode(held) != LOCK_EXCLUSIVE)
        return NULL;
    held->state = SESSION_LOCK_WEAKEN;
    return held;
}

void session_lock_release_use(struct session_lock *held)
{
    held->state = SESSION_LOCK_IDLE;
    held->asked = LOCK_SHARED;
    session_lock_sweep(held->session);
}

void session_lock_weaken(struct session_lock *held, struct guard_wait *wait)
{
    struct device *device = held->session->device;
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    relations_enter(device);
    if (held->lock.held == LOCK_EXCLUSIVE && held->lock.phase == LOCK_SETTLED) {
        lock_downgrade(&held->lock, &reserved);
        held->token = 0;
        session_lock_tell(held, HAPPENING_LOCK_GRANTED, held->lock.held);
    }
    session_lock_wake(&reserved);
    relations_leave(device);
    guard_settle(device, wait);
}

void session_lock_sweep(struct session *session)
{
    struct session_lock *next = NULL;
    pthread_mutex_lock(&session->device->mutex);
    bool swept = session->losses.count == session->losses.swept;
    session->losses.swept = session->losses.count;
    pthread_mutex_unlock(&session->device->mutex);
    if (swept)
        return;
    for (struct session_lock *held = TAILQ_FIRST(&session->locks); held != NULL; held = next) {
        next = TAILQ_NEXT(held, link);
        if (held->state != SESSION_LOCK_IDLE || session_lock_mode(held) != LOCK_NONE)
            continue;
        session_lock_forget(held);
        free(held);
    }
}

bool session_has_locks(const struct session *session)
{
    return !TAILQ_EMPTY(&session->locks);
}

enum lock_mode session_lock_strongest(struct session *session)
{
    enum lock_mode strongest = LOCK_NONE;
    struct session_lock *held = NULL;
    TAILQ_FOREACH (held, &session->locks, link) {
        enum lock_mode mode = session_lock_mode(held);
        strongest = mode > strongest ? mode : strongest;
    }
    return strongest;
}

bool session_lock_covers(const struct session *session, struct lock_range range)
{
    const struct session_lock *held = NULL;
    TAILQ_FOREACH (held, &session->locks, link) {
        if (held->lock.held == LOCK_EXCLUSIVE && range_covers(held->lock.range, range))
            return true;
    }
    return false;
}
