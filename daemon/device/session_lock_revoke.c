/* SPDX-License-Identifier: MIT */
/* How others take a session's locks away: an administrator, or the outside world. session_lock.h
 * says what it is for. */
#include "common/container.h"
#include "daemon/device/notify.h"
#include "daemon/device/session.h"
#include "daemon/device/session_lock_impl.h"

static void session_lose(struct session *session, struct lock_range range)
{
    struct lock_range *lost = &session->losses.range;
    if (range.first_byte < lost->first_byte)
        lost->first_byte = range.first_byte;
    if (range.last_byte > lost->last_byte)
        lost->last_byte = range.last_byte;
}

static void session_lock_log_lost(const struct session *session, unsigned int locks)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "lock-lost");
    log_number(&line, "session", session->number);
    log_number(&line, "device", session->device->number);
    log_text(&line, "path", session->path);
    log_number(&line, "locks", locks);
    peer_log(&session->client.peer, &line);
    log_end(&line);
}

/* A request that waits to make the lock exclusive goes on, and sees that it is gone. */
static unsigned int session_revoke(struct session *session, uint64_t doomed,
                                   struct lock_list *reserved)
{
    unsigned int count = 0;
    struct lock *next = NULL;
    for (struct lock *lock = TAILQ_FIRST(&session->lock.locks); lock != NULL; lock = next) {
        struct session_lock *held = CONTAINER_OF(lock, struct session_lock, lock);
        next = TAILQ_NEXT(lock, owner_link);
        if (lock->held == LOCK_NONE || (doomed != 0 && held->doomed != doomed))
            continue;
        bool waits = lock->phase == LOCK_WAITING;
        session_lock_tell(held, HAPPENING_LOCK_LOST, held->lock.held);
        session_lose(session, lock->range);
        lock_release(lock, reserved);
        if (waits)
            TAILQ_INSERT_TAIL(reserved, lock, result_link);
        count++;
    }
    return count;
}

unsigned int session_locks_revoke(struct device *device, uint64_t doomed, unsigned int event)
{
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    struct session *session = NULL;
    unsigned int count = 0;
    relations_enter(device);
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        unsigned int locks = session_revoke(session, doomed, &reserved);
        if (locks == 0)
            continue;
        lock_break(&session->lock);
        session->losses.count++;
        session_lock_log_lost(session, locks);
        session->news.lost_locks += locks;
        notify_session(session, event);
        count += locks;
    }
    session_lock_wake(&reserved);
    relations_leave(device);
    return count;
}

static unsigned int session_doom(struct session *session, uint64_t number)
{
    unsigned int count = 0;
    struct lock *lock = NULL;
    TAILQ_FOREACH (lock, &session->lock.locks, owner_link) {
        struct session_lock *held = CONTAINER_OF(lock, struct session_lock, lock);
        if (lock->held == LOCK_NONE || held->doomed != 0)
            continue;
        held->doomed = number;
        count++;
    }
    if (count > 0) {
        lock_break(&session->lock);
        session->losses.count++;
    }
    return count;
}

unsigned int session_locks_doom(struct device *device, uint64_t number, uint64_t *ret_break)
{
    struct session *session = NULL;
    unsigned int count = 0;
    *ret_break = ++device->commons->locks.last_break;
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (number == 0 || session->number == number)
            count += session_doom(session, *ret_break);
    }
    return count;
}
