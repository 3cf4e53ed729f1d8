/* SPDX-License-Identifier: MIT */
#include "daemon/link/sessions.h"

#include <string.h>

#include "common/container.h"
#include "common/status.h"
#include "daemon/link/conn_impl.h"
#include "daemon/link/request.h"

static struct conn *sessions_of(const struct session_owner *owner)
{
    const struct conn_sessions *sessions = CONTAINER_OF_CONST(owner, struct conn_sessions, owner);
    return (struct conn *)(uintptr_t)CONTAINER_OF_CONST(sessions, struct conn, sessions);
}

struct conn *sessions_conn(const struct session *session)
{
    return sessions_of(session->client.owner);
}

/* ---- as their owner ---- */

static bool sessions_may_report(struct session_owner *owner)
{
    struct conn *conn = sessions_of(owner);
    bool may = !conn_is_backed_up(conn);
    if (!may)
        conn->out.events_held = true;
    return may;
}

static void report_resized(struct conn *conn, const struct session *session,
                           const struct session_report *report)
{
    Blkd__Resized resized = BLKD__RESIZED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    resized.size_sectors = report->size_bytes / session->sector_size;
    resized.generation = report->generation;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_RESIZED;
    event.resized = &resized;
    conn_queue_event(conn, &event);
}

static void report_sync_failed(struct conn *conn, const struct session *session, int error)
{
    Blkd__SyncFailed failed = BLKD__SYNC_FAILED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    failed.status = status_from_errno(error);
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_SYNC_FAILED;
    event.sync_failed = &failed;
    conn_queue_event(conn, &event);
}

static void report_lock_lost(struct conn *conn, const struct session *session,
                             const struct session_report *report)
{
    Blkd__LockLost lost = BLKD__LOCK_LOST__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    lost.reason = (report->events & SESSION_EVENT_LOCK_BROKEN) != 0
                      ? BLKD__LOCK_LOST__REASON__REASON_BROKEN
                      : BLKD__LOCK_LOST__REASON__REASON_OUTSIDE;
    lost.locks = report->lost_locks;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_LOCK_LOST;
    event.lock_lost = &lost;
    conn_queue_event(conn, &event);
}

static void on_session_report(struct session_owner *owner, const struct session *session,
                              const struct session_report *report)
{
    struct conn *conn = sessions_of(owner);
    if ((report->events & SESSION_EVENT_RESIZED) != 0)
        report_resized(conn, session, report);
    if ((report->events & SESSION_EVENT_SYNC_FAILED) != 0)
        report_sync_failed(conn, session, report->failed);
    if ((report->events & (SESSION_EVENT_LOCK_BROKEN | SESSION_EVENT_LOCK_LOST)) != 0)
        report_lock_lost(conn, session, report);
}

static void on_session_evicted(struct session_owner *owner, const struct session *session)
{
    Blkd__Evicted evicted = BLKD__EVICTED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_EVICTED;
    event.evicted = &evicted;
    conn_queue_event(sessions_of(owner), &event);
}

/* Without a lock the connection has time limits again. */
static void on_session_locks_changed(struct session_owner *owner, int change)
{
    struct conn *conn = sessions_of(owner);
    conn->sessions.locks += (unsigned int)change;
    if (change < 0)
        conn_watch_time(conn);
}

static void on_session_gone(struct session_owner *owner, struct session *session)
{
    struct conn *conn = sessions_of(owner);
    struct request *request = session->owner_data;
    user_remove_session(&conn->worker->server->users, conn->user);
    HASH_DEL(conn->sessions.by_number, session);
    if (conn->sessions.last == session)
        conn->sessions.last = NULL;
    conn->sessions.count--;
    if (request != NULL && session->life.lost != 0)
        request_fail(
            request, session->life.lost,
            "close of %s: a sync of the device failed; acknowledged writes of this session "
            "may be lost",
            session->path);
    else if (request != NULL)
        request_finish(request, 0);
    conn_touch(conn);
}

static const struct session_owner_ops sessions_ops = {
    .may_report = sessions_may_report,
    .report = on_session_report,
    .on_evicted = on_session_evicted,
    .on_locks_changed = on_session_locks_changed,
    .on_gone = on_session_gone,
};

/* ---- the sessions ---- */

void sessions_init(struct conn *conn)
{
    conn->sessions.owner.ops = &sessions_ops;
    lock_party_init(&conn->sessions.party);
}

void sessions_describe_client(struct conn *conn, struct session_client *ret_client)
{
    *ret_client = (struct session_client){.owner = &conn->sessions.owner,
                                          .loop = &conn->worker->io,
                                          .user = conn->user,
                                          .party = &conn->sessions.party,
                                          .connection = conn->number,
                                          .peer = conn->peer};
    (void)memcpy(ret_client->name, conn->client_name, sizeof(ret_client->name));
}

struct session *sessions_find(struct conn *conn, uint64_t number)
{
    struct session *session = conn->sessions.last;
    if (session == NULL || session->number != number)
        HASH_FIND(hh, conn->sessions.by_number, &number, sizeof(number), session);
    if (session == NULL || session->life.closing)
        return NULL;
    conn->sessions.last = session;
    return session;
}

void sessions_add(struct conn *conn, struct session *session)
{
    HASH_ADD(hh, conn->sessions.by_number, number, sizeof(session->number), session);
    conn->sessions.count++;
}

void sessions_close(struct session *session, struct request *request)
{
    session->owner_data = request;
    session_close(session);
}

void sessions_close_all(struct conn *conn)
{
    struct session *session = NULL;
    struct session *next = NULL;
    HASH_ITER(hh, conn->sessions.by_number, session, next)
    {
        session_close(session);
    }
}

void sessions_cancel_waits(struct conn *conn)
{
    struct session *session = NULL;
    struct session *next = NULL;
    HASH_ITER(hh, conn->sessions.by_number, session, next)
    {
        session_lock_cancel_all(session);
    }
}

void sessions_report(struct conn *conn)
{
    struct session *session = NULL;
    struct session *next = NULL;
    HASH_ITER(hh, conn->sessions.by_number, session, next)
    {
        session_send_report(session);
    }
}
