/* SPDX-License-Identifier: MIT */
#include "daemon/device/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/container.h"
#include "common/status.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/link/worker.h"

void session_hold(struct session *session)
{
    session->busy++;
}

static void session_log_closed(const struct session *session)
{
    struct log_line line;
    if (!log_enabled(LOG_LEVEL_INFO))
        return;
    log_begin(&line, LOG_LEVEL_INFO, "session-closed");
    log_number(&line, "session", session->number);
    log_number(&line, "device", session->device->number);
    log_text(&line, "path", session->path);
    peer_log(&session->peer, &line);
    log_number(&line, "reads", session->stats.reads);
    log_number(&line, "writes", session->stats.writes);
    log_number(&line, "errors", session->stats.errors);
    log_end(&line);
}

struct session *session_free(struct session *session)
{
    if (session == NULL)
        return NULL;
    if (session->events_posted) {
        session->detached = true;
        return NULL;
    }
    free(session->path);
    free(session);
    return NULL;
}

/* The lock is released, inside and outside: the session is over. */
static void session_gone(struct session *session)
{
    struct worker *worker = session->worker;
    struct conn *conn = session->conn;
    struct request *request = session->close_request;

    session_log_closed(session);
    watch_publish(&worker->server->watch, session->evicted ? WATCH_EVICTED : WATCH_SESSION_CLOSED,
                  session->device, session, NULL);
    registry_remove_session(&worker->server->registry, session);
    registry_release(&worker->server->registry, session->device, worker, conn->user);
    user_remove_session(&worker->server->users, conn->user);
    conn_remove_session(conn, session);
    if (request != NULL)
        request_finish(request, 0);
    conn_touch(conn);
    (void)session_free(session);
}

static void on_session_unguarded(struct guard_wait *wait, enum lock_mode kept, int result)
{
    (void)kept;
    (void)result; /* it can only have become weaker, or stay for the other holders */
    session_gone(CONTAINER_OF(wait, struct session, guard));
}

/* Its locks go to those who wait for them; it is over when the outside world knows, too. */
static void session_end(struct session *session)
{
    struct device *device = session->device;
    const char *reason = NULL;
    session->ending = true;
    pthread_mutex_lock(&device->mutex);
    assert(drain_gate_count(&session->transfers) == 0);
    TAILQ_REMOVE(&device->sessions, session, device_link);
    stats_add(&device->retired, &session->stats);
    pthread_mutex_unlock(&device->mutex);
    if (!session_has_locks(session)) {
        session_gone(session);
        return;
    }
    session->guard = (struct guard_wait){.worker = session->worker,
                                         .user_share = &session->conn->user->helper_share,
                                         .on_done = on_session_unguarded};
    int error = session_unlock(session, LOCK_WHOLE, &session->guard, &reason);
    assert(error == 0); /* no request is under way: they hold the session */
    (void)error;
}

void session_drop(struct session *session)
{
    assert(session->busy > 0 && !session->ending);
    if (--session->busy == 0 && session->closing)
        session_end(session);
}

void session_close(struct session *session, struct request *request)
{
    if (session->closing)
        return;
    session->closing = true;
    session->close_request = request;
    session_hold(session); /* while requests for locks end */
    session_lock_cancel_all(session);
    session_drop(session);
}

static void session_send_resized(struct session *session, uint64_t size_bytes, uint64_t generation)
{
    Blkd__Resized resized = BLKD__RESIZED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    resized.size_sectors = size_bytes / session->sector_size;
    resized.generation = generation;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_RESIZED;
    event.resized = &resized;
    conn_queue_event(session->conn, &event);
}

static void session_send_sync_failed(struct session *session, int error)
{
    Blkd__SyncFailed failed = BLKD__SYNC_FAILED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    failed.status = status_from_errno(error);
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_SYNC_FAILED;
    event.sync_failed = &failed;
    conn_queue_event(session->conn, &event);
}

static void session_send_lock_lost(struct session *session, unsigned int events, unsigned int locks)
{
    Blkd__LockLost lost = BLKD__LOCK_LOST__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    lost.reason = (events & SESSION_EVENT_LOCK_BROKEN) != 0
                      ? BLKD__LOCK_LOST__REASON__REASON_BROKEN
                      : BLKD__LOCK_LOST__REASON__REASON_OUTSIDE;
    lost.locks = locks;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_LOCK_LOST;
    event.lock_lost = &lost;
    conn_queue_event(session->conn, &event);
}

static void session_evict(struct session *session)
{
    Blkd__Evicted evicted = BLKD__EVICTED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    if (session->closing)
        return;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_EVICTED;
    event.evicted = &evicted;
    conn_queue_event(session->conn, &event);
    session->evicted = true;
    session_close(session, NULL);
}

void session_send_events(struct session *session)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    unsigned int events = session->events;
    uint64_t size_bytes = device->size_bytes;
    uint64_t generation = device->generation;
    int failed = device->sync.failed;
    unsigned int lost_locks = session->lost_locks;
    session->events = 0;
    session->lost_locks = 0;
    pthread_mutex_unlock(&device->mutex);
    if ((events & SESSION_EVENT_RESIZED) != 0)
        session_send_resized(session, size_bytes, generation);
    if ((events & SESSION_EVENT_SYNC_FAILED) != 0)
        session_send_sync_failed(session, failed);
    if ((events & (SESSION_EVENT_LOCK_BROKEN | SESSION_EVENT_LOCK_LOST)) != 0)
        session_send_lock_lost(session, events, lost_locks);
}

/* What is not only told: whether or not the client reads. The session may be gone afterwards. */
static bool session_obey_events(struct session *session)
{
    pthread_mutex_lock(&session->device->mutex);
    session->events_posted = false;
    bool evict = (session->events & SESSION_EVENT_EVICTED) != 0;
    session->events &= ~(unsigned int)SESSION_EVENT_EVICTED;
    pthread_mutex_unlock(&session->device->mutex);
    session_lock_sweep(session);
    if (evict)
        session_evict(session);
    return evict;
}

void on_session_events(struct letter *letter)
{
    struct session *session = CONTAINER_OF(letter, struct session, event_letter);
    if (session->detached) {
        session->events_posted = false;
        (void)session_free(session);
        return;
    }
    if (session->ending) {
        pthread_mutex_lock(&session->device->mutex);
        session->events_posted = false;
        pthread_mutex_unlock(&session->device->mutex);
        return;
    }
    session_hold(session);
    /* To a client that does not read they are sent when it does: one of a kind, however many there
     * were. */
    if (!session_obey_events(session)) {
        if (conn_is_backed_up(session->conn))
            session->conn->events_held = true;
        else
            session_send_events(session);
    }
    session_drop(session);
}

void session_tell(struct session *session, unsigned int events)
{
    session->events |= events;
    if (session->events_posted)
        return;
    session->events_posted = true;
    mailbox_post(&session->worker->mailbox, &session->event_letter);
}

void session_describe(const struct session *session, char *text, size_t size)
{
    (void)snprintf(text, size, "session %llu (pid %d, uid %u, %s)",
                   (unsigned long long)session->number, (int)session->peer.pid,
                   (unsigned int)session->peer.uid, session->peer.command);
}
