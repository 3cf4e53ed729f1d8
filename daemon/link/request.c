/* SPDX-License-Identifier: MIT */
#include "daemon/link/request.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/standard.h"
#include "common/status.h"
#include "common/text.h"
#include "daemon/link/channel.h"
#include "daemon/link/conn.h"
#include "daemon/link/request_pool.h"

enum {
    /* So much that is ready leaves before the end of the round: while it is in the cache, and so
       that the client works on it while the daemon works on the rest. */
    REQUEST_SEND_BYTES = 32 * 1024,
    REQUEST_SEND_FRAMES = 8,
    REQUEST_MESSAGE_MAX = 1024,
};

static void request_release(struct request *request)
{
    struct conn *conn = request->conn;
    outgoing_deinit(&request->out);
    request->payload.buffer = buffer_put(&conn->worker->memory.buffers, request->payload.buffer);
    if (request->free_extra != NULL)
        request->free_extra(request->extra);
    else
        free(request->extra);
    request->extra = NULL;
    conn_credit(conn, request);
    request_pool_put(&conn->worker->memory, request);
}

static void on_request_sent(struct outgoing *outgoing)
{
    request_release((struct request *)(void *)outgoing);
}

static void request_leave_session(struct request *request)
{
    struct session *session = request->session;
    if (session == NULL)
        return;
    request->session = NULL;
    session_drop(session);
}

static void request_end(struct request *request, Blkd__Reply *reply, size_t payload_bytes)
{
    struct conn *conn = request->conn;
    reply->id = request->id;
    conn_remove_request(conn, request);
    request_leave_session(request);
    request->out.release = on_request_sent;
    request->out.payload = request->payload.buffer != NULL ? request->payload.buffer->data : NULL;
    int error = outgoing_pack(&request->out, reply, payload_bytes);
    if (error < 0) {
        request_release(request);
        conn_break(conn, error);
        return;
    }
    if (request->out.head != request->out.inline_bytes)
        conn_charge(conn, request, request->out.head_bytes);
    conn_queue(conn, &request->out);
    conn_touch(conn);
    if (conn->out.unsent_bytes >= REQUEST_SEND_BYTES ||
        conn->out.unsent_frames >= REQUEST_SEND_FRAMES)
        (void)conn_send(conn);
}

static void request_end_status(struct request *request, int result)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    reply.status = status_from_errno(result);
    request_end(request, &reply, 0);
}

/* A removal is asked for on the socket only. */
void request_end_removal(struct channel *channel, struct channel_arena *arena)
{
    struct request *removal = arena->removal;
    assert(removal->ring.channel == NULL);
    channel_forget_arena(channel, arena);
    request_end_status(removal, 0);
}

/* One that came by the channel: its completion says all. */
static void request_end_by_channel(struct request *request, int result, const char *message)
{
    struct conn *conn = request->conn;
    struct channel *channel = request->ring.channel;
    struct channel_arena *arena = request->ring.arena;
    uint64_t length_bytes = request->ring.memory != NULL ? request->asked.length_bytes : 0;
    request_leave_session(request);
    const struct channel_end end = {
        .error = result,
        .message = message,
        .refusal = request->refusal,
        .length_bytes = length_bytes,
    };
    channel_complete(channel, request->id, &end);
    if (arena != NULL && --arena->users == 0 && arena->removal != NULL)
        request_end_removal(channel, arena);
    bool last = conn->state > CONN_SERVING;
    request_release(request);
    if (last || channel->held)
        conn_touch(conn);
}

void request_finish(struct request *request, int result)
{
    if (request->ring.channel != NULL)
        request_end_by_channel(request, result, NULL);
    else
        request_end_status(request, result);
}

/* No descriptor goes with a failure. */
static void request_detach(struct request *request)
{
    struct outgoing *out = &request->out;
    while (out->fd_count > 0)
        (void)close(out->fds[--out->fd_count]);
}

void request_fail(struct request *request, int error, const char *format, ...)
{
    char message[REQUEST_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    text_make_utf8(message);
    assert(error < 0);
    if (request->ring.channel != NULL) {
        request_end_by_channel(request, error, message);
        return;
    }
    Blkd__Reply reply = BLKD__REPLY__INIT;
    reply.status = status_from_errno(error);
    reply.message = message;
    reply.reason = (Blkd__Reason)request->refusal;
    request_detach(request);
    request_end(request, &reply, 0);
}

void request_reply(struct request *request, Blkd__Reply *reply)
{
    request_end(request, reply, 0);
}

/* What was read is where the client wants it, but for direct I/O to memory that was not aligned. */
static void request_deliver(struct request *request)
{
    if (request->payload.buffer != NULL)
        (void)memcpy(request->ring.memory, request->payload.buffer->data,
                     request->asked.length_bytes);
    request_finish(request, 0);
}

void request_reply_payload(struct request *request)
{
    if (request->ring.channel != NULL) {
        request_deliver(request);
        return;
    }
    Blkd__Reply reply = BLKD__REPLY__INIT;
    request_end(request, &reply, (size_t)request->asked.length_bytes);
}

int request_attach(struct request *request, int fd)
{
    struct outgoing *out = &request->out;
    assert(out->fd_count < OUTGOING_FDS);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, STANDARD_COUNT);
    if (own < 0)
        return -errno;
    out->fds[out->fd_count++] = own;
    return 0;
}

/* The answer has been packed; nothing of it has left. A failure fits the inline bytes or not: there
 * is no memory for less than that, then the client gets a reply without words. */
static void on_request_unsendable(struct outgoing *outgoing)
{
    struct request *request = (struct request *)(void *)outgoing;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    reply.id = request->id;
    reply.status = BLKD__STATUS__STATUS_EDQUOT;
    reply.message = (char *)(uintptr_t) "too many descriptors are in transit from this daemon "
                                        "(unix(7), ETOOMANYREFS)";
    request->undo(request);
    outgoing_deinit(outgoing);
    (void)outgoing_pack(outgoing, &reply, 0);
}

void request_set_undo(struct request *request, void (*undo)(struct request *request))
{
    request->undo = undo;
    request->out.on_unsendable = on_request_unsendable;
}

int request_own_payload(struct request *request)
{
    if (request->payload.buffer != NULL || request->ring.channel != NULL)
        return 0;
    request->payload.buffer =
        buffer_get(&request->conn->worker->memory.buffers, request->payload.bytes);
    if (request->payload.buffer == NULL)
        return -ENOMEM;
    conn_charge(request->conn, request, request->payload.bytes);
    (void)memcpy(request->payload.buffer->data, request->payload.data, request->payload.bytes);
    request->payload.data = request->payload.buffer->data;
    return 0;
}
