/* SPDX-License-Identifier: MIT */
#include "daemon/link/conn.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/status.h"
#include "daemon/link/channel.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"

static void on_conn_writable(evutil_socket_t fd, short what, void *user_data)
{
    struct conn *conn = user_data;
    (void)fd;
    (void)what;
    conn_touch(conn);
}

static void on_conn_letter(struct letter *letter)
{
    struct conn *conn = CONTAINER_OF(letter, struct conn, letter);
    struct worker *worker = conn->worker;

    conn->read_event =
        event_new(worker->base, conn->fd, EV_READ | EV_PERSIST, on_conn_readable, conn);
    conn->write_event = event_new(worker->base, conn->fd, EV_WRITE, on_conn_writable, conn);
    conn->timer = event_new(worker->base, -1, 0, on_conn_timer, conn);
    conn->accepted_ms = worker_now_ms(); /* what it waited for the worker is not its time */
    LIST_INSERT_HEAD(&worker->conns, conn, link);
    if (conn->read_event == NULL || conn->write_event == NULL || conn->timer == NULL ||
        event_add(conn->read_event, NULL) < 0 || worker->stopping) {
        conn_close(conn);
        return;
    }
    conn_watch_time(conn);
}

int conn_new(struct worker *worker, struct user *user, const struct peer *peer, int fd,
             struct conn **ret_conn)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL)
        return -ENOMEM;
    conn->worker = worker;
    conn->user = user;
    conn->peer = *peer;
    conn->number = atomic_fetch_add(&worker->server->last_connection, 1) + 1;
    conn->state = CONN_GREETING;
    conn->fd = fd;
    conn->letter.deliver = on_conn_letter;
    conn->pending_fd = -1;
    conn->later_fd = -1;
    STAILQ_INIT(&conn->outgoing);
    lock_party_init(&conn->party);
    for (unsigned int i = 0; i < CONN_ID_BUCKETS; i++)
        LIST_INIT(&conn->ids[i]);
    helper_share_init(&conn->helper_share, HELPER_PER_CONNECTION);
    *ret_conn = conn;
    return 0;
}

void conn_start(struct conn *conn)
{
    mailbox_post(&conn->worker->mailbox, &conn->letter);
}

static void conn_free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void conn_drop_outgoing(struct conn *conn)
{
    while (!STAILQ_EMPTY(&conn->outgoing)) {
        struct outgoing *outgoing = STAILQ_FIRST(&conn->outgoing);
        STAILQ_REMOVE_HEAD(&conn->outgoing, link);
        outgoing->release(outgoing);
    }
    conn->unsent_bytes = 0;
    conn->unsent_frames = 0;
    conn->sent_bytes = 0;
}

static void conn_close_sessions(struct conn *conn)
{
    struct session *session = NULL;
    struct session *next = NULL;
    HASH_ITER(hh, conn->sessions, session, next)
    {
        session_close(session, NULL);
    }
}

/* Bytes that were never received may carry descriptors, and closing the last one of a file can
 * block: then the peer is told now, and the socket is closed where that harms nobody. */
static void conn_close_socket(struct conn *conn)
{
    int unread = 0;
    int fd = TAKE_FD(conn->fd);
    if (ioctl(fd, SIOCINQ, &unread) < 0 || unread == 0) {
        (void)close(fd);
        return;
    }
    (void)shutdown(fd, SHUT_RDWR);
    disposal_descriptor(conn->worker, conn->user, fd);
}

void conn_close(struct conn *conn)
{
    if (conn->state == CONN_CLOSING)
        return;
    conn->state = CONN_CLOSING;
    conn_free_event(&conn->read_event);
    conn_free_event(&conn->write_event);
    conn_free_event(&conn->timer);
    conn_close_socket(conn);
    while (conn->pending_fd >= 0)
        disposal_descriptor(conn->worker, conn->user, conn_take_descriptor(conn));
    if (conn->receiving != NULL) {
        struct request *request = TAKE_PTR(conn->receiving);
        request_finish(request, -ECANCELED);
    }
    conn_drop_outgoing(conn);
    if (conn->channel != NULL)
        channel_stop(conn->channel);
    watch_stop(&conn->worker->server->watch, conn);
    conn_close_sessions(conn);
    conn_touch(conn);
}

/* What waits for others' locks would be waited for as long as those please. */
static void conn_cancel_waits(struct conn *conn)
{
    struct session *session = NULL;
    struct session *next = NULL;
    HASH_ITER(hh, conn->sessions, session, next)
    {
        session_lock_cancel_all(session);
    }
}

void conn_drain(struct conn *conn)
{
    if (conn->state == CONN_CLOSING)
        return;
    conn->state = CONN_DRAINING;
    conn->drained_ms = worker_now_ms();
    watch_stop(&conn->worker->server->watch, conn);
    (void)event_del(conn->read_event);
    if (conn->channel != NULL)
        channel_hold(conn->channel);
    if (conn->receiving != NULL) {
        struct request *request = TAKE_PTR(conn->receiving);
        request_fail(request, -ESHUTDOWN, "the daemon is stopping");
    }
    conn_cancel_waits(conn);
    conn_touch(conn);
}

void conn_refuse(struct conn *conn, int error, const char *format, ...)
{
    if (conn->state == CONN_CLOSING)
        return;
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);

    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "connection-refused");
    log_number(&line, "connection", conn->number);
    peer_log(&conn->peer, &line);
    log_errno(&line, error);
    log_text(&line, "reason", reason);
    log_end(&line);

    Blkd__Reply reply = BLKD__REPLY__INIT;
    reply.status = status_from_errno(error);
    reply.message = reason;
    struct outgoing *outgoing = outgoing_new(&reply);
    if (outgoing != NULL) {
        conn_queue(conn, outgoing);
        (void)conn_send(conn);
    }
    conn_close(conn);
}

void conn_touch(struct conn *conn)
{
    if (conn->touched)
        return;
    conn->touched = true;
    conn->worker->activity++;
    TAILQ_INSERT_TAIL(&conn->worker->touched, conn, touched_link);
}

static void conn_free(struct conn *conn)
{
    struct server *server = conn->worker->server;
    LIST_REMOVE(conn, link);
    conn->channel = channel_free(conn->channel);
    helper_share_deinit(&conn->helper_share);
    user_remove_connection(&server->users, conn->user);
    conn->user = user_unref(&server->users, conn->user);
    atomic_fetch_sub(&server->connections, 1);
    free(conn->stash);
    free(conn);
}

bool conn_is_backed_up(const struct conn *conn)
{
    return conn->unsent_bytes > CONN_EVENTS_UNSENT_MAX;
}

static void conn_release_events(struct conn *conn)
{
    struct session *session = NULL;
    struct session *next = NULL;
    if (!conn->events_held || conn_is_backed_up(conn))
        return;
    conn->events_held = false;
    HASH_ITER(hh, conn->sessions, session, next)
    {
        session_send_events(session);
    }
    watch_send(conn->watcher);
}

void conn_end_round(struct conn *conn)
{
    TAILQ_REMOVE(&conn->worker->touched, conn, touched_link);
    conn->touched = false;
    if (conn->state == CONN_DRAINING && conn->channel != NULL)
        channel_tell_client(conn->channel); /* before the connection ends */
    if (conn_send(conn) < 0)
        conn_close(conn);
    conn_release_events(conn);
    conn_resume(conn);
    if (conn->state == CONN_DRAINING && conn->requests == 0 && STAILQ_EMPTY(&conn->outgoing))
        conn_close(conn);
    /* Sessions, openings and requests each keep the connection until they have ended. */
    if (conn->state == CONN_CLOSING && conn->sessions == NULL && conn->requests == 0 &&
        conn->openings == 0 && !conn->touched)
        conn_free(conn);
}

struct session *conn_find_session(struct conn *conn, uint64_t number)
{
    struct session *session = conn->last_session;
    if (session == NULL || session->number != number)
        HASH_FIND(hh, conn->sessions, &number, sizeof(number), session);
    if (session == NULL || session->closing)
        return NULL;
    conn->last_session = session;
    return session;
}

void conn_add_session(struct conn *conn, struct session *session)
{
    HASH_ADD(hh, conn->sessions, number, sizeof(session->number), session);
    conn->session_count++;
}

void conn_remove_session(struct conn *conn, struct session *session)
{
    HASH_DEL(conn->sessions, session);
    if (conn->last_session == session)
        conn->last_session = NULL;
    conn->session_count--;
}

int conn_take_descriptor(struct conn *conn)
{
    int fd = conn->pending_fd;
    conn->pending_fd = TAKE_FD(conn->later_fd);
    return fd;
}

static struct request_id_list *conn_bucket(struct conn *conn, uint64_t id)
{
    return &conn->ids[id % CONN_ID_BUCKETS];
}

bool conn_has_request(const struct conn *conn, uint64_t id)
{
    const struct request *request = NULL;
    LIST_FOREACH (request, &conn->ids[id % CONN_ID_BUCKETS], id_link) {
        if (request->id == id)
            return true;
    }
    return false;
}

void conn_add_request(struct conn *conn, struct request *request)
{
    LIST_INSERT_HEAD(conn_bucket(conn, request->id), request, id_link);
    conn->requests++;
}

void conn_remove_request(struct conn *conn, struct request *request)
{
    LIST_REMOVE(request, id_link);
    conn->requests--;
}

unsigned int conn_in_rings(const struct conn *conn)
{
    return conn->channel != NULL ? conn->channel->in_flight : 0;
}

void conn_charge(struct conn *conn, struct request *request, size_t bytes)
{
    request->charged_bytes += bytes;
    conn->buffered_bytes += bytes;
}

void conn_credit(struct conn *conn, struct request *request)
{
    conn->buffered_bytes -= request->charged_bytes;
    request->charged_bytes = 0;
}

void conn_queue(struct conn *conn, struct outgoing *outgoing)
{
    if (conn->state == CONN_CLOSING) {
        outgoing->release(outgoing);
        return;
    }
    STAILQ_INSERT_TAIL(&conn->outgoing, outgoing, link);
    conn->unsent_frames++;
    conn->unsent_bytes += outgoing->head_bytes + outgoing->payload_bytes;
    conn_touch(conn);
}

void conn_number_event(struct conn *conn, Blkd__Event *event, Blkd__Reply *reply)
{
    event->sequence = ++conn->last_event;
    reply->body_case = BLKD__REPLY__BODY_EVENT;
    reply->event = event;
}

void conn_queue_event(struct conn *conn, Blkd__Event *event)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    if (conn->state != CONN_SERVING)
        return;
    conn_number_event(conn, event, &reply);
    struct outgoing *outgoing = outgoing_new(&reply);
    if (outgoing != NULL)
        conn_queue(conn, outgoing);
}
