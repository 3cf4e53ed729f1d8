/* SPDX-License-Identifier: MIT */
#include "daemon/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/container.h"
#include "common/status.h"
#include "daemon/conn.h"
#include "daemon/request.h"
#include "daemon/worker.h"

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
    registry_remove_session(&worker->server->registry, session);
    registry_release(&worker->server->registry, session->device, worker, conn->user);
    user_remove_session(&worker->server->users, conn->user);
    conn_remove_session(conn, session);
    if (request != NULL)
        request_finish(request, 0);
    conn_touch(conn);
    (void)session_free(session);
}

static void on_session_unguarded(struct io *io, int result)
{
    struct session *session = CONTAINER_OF(io, struct session, guard_io);
    struct device *device = session->device;
    (void)result; /* the guard stays as it is for the other holders, or falls: neither can fail */
    pthread_mutex_lock(&device->mutex);
    lock_release(&device->locks, &session->lock);
    pthread_mutex_unlock(&device->mutex);
    device_task_done(device, &session->guard_task);
    session_gone(session);
}

static void on_session_unguard(struct device_task *task)
{
    struct session *session = CONTAINER_OF(task, struct session, guard_task);
    pthread_mutex_lock(&session->device->mutex);
    enum lock_mode mode = lock_mode_beside(&session->device->locks, &session->lock);
    pthread_mutex_unlock(&session->device->mutex);
    session->guard_io = (struct io){.op = IO_GUARD,
                                    .lock_mode = mode,
                                    .worker = session->worker,
                                    .on_done = on_session_unguarded};
    backend_submit(session->device->backend, &session->guard_io);
}

/* The lock stays in the table until the guard has fallen: nobody else's zeroing, which goes through
 * the guard's descriptor while there is one, may begin before that. */
static void session_end(struct session *session)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    assert(session->in_flight == 0);
    bool locked = session->lock.mode != LOCK_NONE;
    TAILQ_REMOVE(&device->sessions, session, device_link);
    stats_add(&device->retired, &session->stats);
    pthread_mutex_unlock(&device->mutex);
    if (!locked) {
        session_gone(session);
        return;
    }
    session->conn->locks--;
    conn_watch_time(session->conn); /* without a lock it has time limits again */
    session->guard_task =
        (struct device_task){.worker = session->worker, .start = on_session_unguard};
    device_task_submit(device, &session->guard_task);
}

void session_drop(struct session *session)
{
    assert(session->busy > 0);
    if (--session->busy == 0 && session->closing)
        session_end(session);
}

void session_close(struct session *session, struct request *request)
{
    if (session->closing)
        return;
    session->closing = true;
    session->close_request = request;
    if (session->busy == 0)
        session_end(session);
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

void session_send_events(struct session *session)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    unsigned int events = session->events;
    uint64_t size_bytes = device->size_bytes;
    uint64_t generation = device->generation;
    int failed = device->sync.failed;
    session->events = 0;
    pthread_mutex_unlock(&device->mutex);
    if ((events & SESSION_EVENT_RESIZED) != 0)
        session_send_resized(session, size_bytes, generation);
    if ((events & SESSION_EVENT_SYNC_FAILED) != 0)
        session_send_sync_failed(session, failed);
}

void on_session_events(struct letter *letter)
{
    struct session *session = CONTAINER_OF(letter, struct session, event_letter);
    if (session->detached) {
        session->events_posted = false;
        (void)session_free(session);
        return;
    }
    pthread_mutex_lock(&session->device->mutex);
    session->events_posted = false;
    pthread_mutex_unlock(&session->device->mutex);
    /* To a client that does not read they are sent when it does: one of a kind, however many there
     * were. */
    if (conn_is_backed_up(session->conn))
        session->conn->events_held = true;
    else
        session_send_events(session);
}

void session_describe(const struct session *session, char *text, size_t size)
{
    (void)snprintf(text, size, "session %llu (pid %d, uid %u, %s)",
                   (unsigned long long)session->number, (int)session->peer.pid,
                   (unsigned int)session->peer.uid, session->peer.command);
}
