/* SPDX-License-Identifier: MIT */
/* How a connection ends: at its client's wish, for a mistake of the client's, or with the daemon.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/status.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/link/channel.h"
#include "daemon/link/conn_impl.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/link/sessions.h"

static void conn_free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void conn_drop_outgoing(struct conn *conn)
{
    while (!STAILQ_EMPTY(&conn->out.queue)) {
        struct outgoing *outgoing = STAILQ_FIRST(&conn->out.queue);
        STAILQ_REMOVE_HEAD(&conn->out.queue, link);
        outgoing->release(outgoing);
    }
    conn->out.unsent_bytes = 0;
    conn->out.unsent_frames = 0;
    conn->out.sent_bytes = 0;
}

static void conn_close_socket(struct conn *conn)
{
    int fd = TAKE_FD(conn->fd);
    if (disposal_closes_at_once(fd)) {
        (void)close(fd);
        return;
    }
    (void)shutdown(fd, SHUT_RDWR); /* the peer is told now */
    disposal_descriptor(conn->worker, conn->user, fd);
}

void conn_close(struct conn *conn)
{
    if (conn->state == CONN_CLOSING)
        return;
    conn->state = CONN_CLOSING;
    conn_free_event(&conn->in.event);
    conn_free_event(&conn->out.event);
    conn_free_event(&conn->times.timer);
    conn_free_event(&conn->process_event);
    conn_close_socket(conn);
    while (conn->in.pending_fd >= 0)
        disposal_descriptor(conn->worker, conn->user, conn_take_descriptor(conn));
    if (conn->in.receiving != NULL) {
        struct request *request = TAKE_PTR(conn->in.receiving);
        request_finish(request, -ECANCELED);
    }
    conn_drop_outgoing(conn);
    if (conn->channel != NULL)
        channel_stop(conn->channel);
    watch_stop(&conn->worker->server->watch, conn);
    sessions_close_all(conn);
    conn_touch(conn);
}

void conn_drain(struct conn *conn)
{
    if (conn->state == CONN_CLOSING)
        return;
    conn->state = CONN_DRAINING;
    conn->times.drained_ms = clock_ms();
    watch_stop(&conn->worker->server->watch, conn);
    (void)event_del(conn->in.event);
    if (conn->channel != NULL)
        channel_hold(conn->channel);
    if (conn->in.receiving != NULL) {
        struct request *request = TAKE_PTR(conn->in.receiving);
        request_fail(request, -ESHUTDOWN, "the daemon is stopping");
    }
    sessions_cancel_waits(conn);
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
