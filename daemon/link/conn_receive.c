/* SPDX-License-Identifier: MIT */
/*
 * The receiving half of a connection. Bytes land in the worker's receive buffer, many frames at
 * once; a payload that did not come whole continues in an aligned buffer of its own, where the
 * socket's bytes go directly. What cannot be parsed yet is stashed, so that an idle connection
 * holds no buffer.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "common/frame.h"
#include "daemon/base/clock.h"
#include "daemon/link/channel.h"
#include "daemon/link/conn_impl.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/link/request_pool.h"

enum {
    /* With large payloads coming, no more than this of the next one is received with the end of
       this one. */
    CONN_READ_AHEAD_LARGE = 4096,
    CONN_LARGE_BYTES = 32 * 1024,
    /* A connection gives the others their turn after so many receives. */
    CONN_TURN = 4,
};

/* What is parsed now. */
struct input {
    const uint8_t *bytes;
    size_t length;
};

static void input_advance(struct input *input, size_t bytes)
{
    input->bytes += bytes;
    input->length -= bytes;
}

static void conn_pause(struct conn *conn)
{
    if (conn->in.paused)
        return;
    conn->in.paused = true;
    conn->times.paused_at_ms = clock_ms();
    (void)event_del(conn->in.event);
}

/* Keeps what is left of the input for the next time; it is often a part of the stash itself. */
static int conn_keep(struct conn *conn, const struct input *input)
{
    uint8_t *stash = NULL;
    if (input->length > 0) {
        stash = malloc(input->length);
        if (stash == NULL)
            return -ENOMEM;
        (void)memcpy(stash, input->bytes, input->length);
    }
    free(conn->in.stash);
    conn->in.stash = stash;
    conn->in.stash_bytes = input->length;
    return 0;
}

/* All bytes that came with the descriptor have been parsed, and nothing has taken it. */
static void conn_check_descriptor(struct conn *conn)
{
    if (conn->state != CONN_CLOSING && conn->in.pending_fd >= 0 && conn->times.frame_since_ms == 0)
        conn_refuse(conn, -EPROTO, "a request came with an unexpected file descriptor");
}

/* One that is refused before it has taken its descriptor leaves none behind. */
static void conn_drop_descriptor(struct conn *conn, const Blkd__Request *message)
{
    bool takes = (message->op_case == BLKD__REQUEST__OP_OPEN && message->open->descriptor) ||
                 (message->op_case == BLKD__REQUEST__OP_WHO && message->who->descriptor) ||
                 (message->op_case == BLKD__REQUEST__OP_RECOVER && message->recover->descriptor);
    if (takes && conn->in.pending_fd >= 0)
        disposal_descriptor(conn->worker, conn->user, conn_take_descriptor(conn));
}

/* Refuses the request if its operation or its payload is not what it may be; its reply goes out
 * while a payload is still skipped. True if the request is gone. */
static bool conn_refuse_request(struct conn *conn, struct request *request,
                                const struct frame_prefix *prefix)
{
    const struct operation *operation = request->operation;
    if (operation == NULL) {
        conn->in.skip_bytes = prefix->payload_bytes;
        request_fail(request, -EOPNOTSUPP,
                     "unknown operation: the daemon may be older than the client");
        return true;
    }
    if (prefix->payload_bytes > 0 && (operation->flags & OP_PAYLOAD) == 0) {
        conn->in.skip_bytes = prefix->payload_bytes;
        request_fail(request, -EINVAL, "%s: unexpected payload of %u bytes", operation->name,
                     prefix->payload_bytes);
        return true;
    }
    return false;
}

/* Protocol rules that end the connection. */
static bool conn_admit(struct conn *conn, const Blkd__Request *message,
                       const struct operation *operation)
{
    bool hello = operation != NULL && (operation->flags & OP_HELLO) != 0;
    if (message->id == 0)
        conn_refuse(conn, -EPROTO, "request with id 0");
    else if (conn->state == CONN_GREETING && !hello)
        conn_refuse(conn, -EPROTO, "the first request is not Hello");
    else if (conn->state == CONN_SERVING && hello)
        conn_refuse(conn, -EPROTO, "second Hello");
    else if (conn_has_request(conn, message->id))
        conn_refuse(conn, -EPROTO, "request id %llu is already in flight",
                    (unsigned long long)message->id);
    return conn->state != CONN_CLOSING;
}

/* The request has what its operation needs from the message. False if it has been refused. */
static bool conn_prepare_request(struct conn *conn, struct request *request,
                                 const Blkd__Request *message, const struct frame_prefix *prefix)
{
    unsigned int limit = conn->worker->server->limits.requests_per_connection;
    if (conn_refuse_request(conn, request, prefix))
        return false;
    if (conn->requests.count - conn_in_rings(conn) > limit) {
        conn->in.skip_bytes = prefix->payload_bytes;
        request_fail(request, -EDQUOT, "more than %u requests in flight on this connection", limit);
        return false;
    }
    int error = request->operation->prepare(request, message);
    if (error < 0) {
        conn->in.skip_bytes = prefix->payload_bytes;
        request_fail(request, error, "%s: %s", request->operation->name,
                     error == -ENOMEM ? "out of memory" : "invalid field in the request");
        return false;
    }
    return true;
}

/* A request from its header; NULL if the connection or the request is refused. */
static struct request *conn_make_request(struct conn *conn, const uint8_t *header,
                                         const struct frame_prefix *prefix)
{
    struct worker *worker = conn->worker;
    const Blkd__Request *message = NULL;
    int error = wire_unpack_request(&worker->memory.arena, header, prefix->header_bytes, &message);
    if (error < 0) {
        conn_refuse(conn, error, "cannot decode a header of %u bytes", prefix->header_bytes);
        return NULL;
    }
    const struct operation *operation = dispatch_find(worker->server->operations, message);
    if (!conn_admit(conn, message, operation))
        return NULL;
    struct request *request = request_pool_get(&conn->worker->memory);
    if (request == NULL) {
        conn_refuse(conn, -ENOMEM, "out of memory");
        return NULL;
    }
    request->conn = conn;
    request->id = message->id;
    request->operation = operation;
    request->payload.bytes = prefix->payload_bytes;
    conn_add_request(conn, request);
    conn_charge(conn, request, sizeof(*request));
    if (conn_prepare_request(conn, request, message, prefix))
        return request;
    conn_drop_descriptor(conn, message);
    return NULL;
}

/* The payload's beginning is here; the rest will be received into a buffer of its own. */
static void conn_begin_payload(struct conn *conn, struct request *request, struct input *input)
{
    request->payload.buffer = buffer_get(&conn->worker->memory.buffers, request->payload.bytes);
    if (request->payload.buffer == NULL) {
        conn->in.skip_bytes = request->payload.bytes;
        request_fail(request, -ENOMEM, "out of memory: no buffer for %u bytes of payload",
                     request->payload.bytes);
        return;
    }
    conn_charge(conn, request, request->payload.bytes);
    request->payload.data = request->payload.buffer->data;
    (void)memcpy(request->payload.buffer->data, input->bytes, input->length);
    request->payload.received_bytes = (uint32_t)input->length;
    input_advance(input, input->length);
    conn->in.receiving = request;
}

static void conn_take_payload(struct conn *conn, struct request *request, struct input *input)
{
    uint32_t payload_bytes = request->payload.bytes;
    conn->in.large = payload_bytes >= CONN_LARGE_BYTES;
    if (input->length < payload_bytes) {
        conn_begin_payload(conn, request, input);
        return;
    }
    /* Borrowed: a handler that is not done with it when it returns makes it the request's own. */
    request->payload.data = input->bytes;
    input_advance(input, payload_bytes);
    conn->in.frames++;
    dispatch_run(request);
}

/* Parses one frame. False if there is none whole enough. */
static bool conn_parse_frame(struct conn *conn, struct input *input)
{
    struct frame_prefix prefix;
    if (input->length < FRAME_PREFIX_BYTES)
        return false;
    int error = frame_decode(input->bytes, &prefix);
    if (error < 0) {
        conn_refuse(conn, error, "frame with an empty header, or too long");
        return false;
    }
    if (input->length < FRAME_PREFIX_BYTES + prefix.header_bytes)
        return false;
    struct request *request = conn_make_request(conn, input->bytes + FRAME_PREFIX_BYTES, &prefix);
    if (conn->state == CONN_CLOSING)
        return false;
    input_advance(input, FRAME_PREFIX_BYTES + prefix.header_bytes);
    if (request != NULL && prefix.payload_bytes > 0)
        conn_take_payload(conn, request, input);
    else
        conn->in.frames++;
    if (request != NULL && prefix.payload_bytes == 0)
        dispatch_run(request);
    return conn->state != CONN_CLOSING;
}

static void conn_skip(struct conn *conn, struct input *input)
{
    size_t bytes = input->length < conn->in.skip_bytes ? input->length : conn->in.skip_bytes;
    conn->in.skip_bytes -= (uint32_t)bytes;
    input_advance(input, bytes);
}

/* Parses all whole frames there is room for, keeps the rest. The connection may be closed after it.
 */
static void conn_parse(struct conn *conn, struct input input)
{
    bool more = true;
    while (more && input.length > 0 && conn->state != CONN_CLOSING) {
        if (conn->in.skip_bytes > 0)
            conn_skip(conn, &input);
        else if (!conn_has_room(conn))
            break;
        else
            more = conn_parse_frame(conn, &input);
    }
    if (conn->state == CONN_CLOSING)
        return;
    bool unfinished = input.length > 0 || conn->in.receiving != NULL || conn->in.skip_bytes > 0;
    if (!unfinished)
        conn->times.frame_since_ms = 0;
    else if (conn->times.frame_since_ms == 0 || conn->in.frames != conn->times.frame_number) {
        conn->times.frame_since_ms = clock_ms();
        conn->times.frame_number = conn->in.frames;
    }
    if (conn_keep(conn, &input) < 0) {
        conn_refuse(conn, -ENOMEM, "out of memory: no buffer for %zu received bytes", input.length);
        return;
    }
    conn_check_descriptor(conn);
    if (conn->state == CONN_CLOSING)
        return;
    if (!conn_has_room(conn))
        conn_pause(conn);
    if (unfinished)
        conn_watch_time(conn);
}

/* One receive brings at most one frame's descriptors, and that frame begins with the last bytes
 * that it brings (unix(7)). The frame before it may have had a descriptor too and become whole with
 * the first bytes: so there can be two. */
static void conn_take_descriptors(struct conn *conn, struct fdpass *fds)
{
    bool unexpected =
        fds->truncated || fds->count > 1 || (fds->count == 1 && conn->in.later_fd >= 0);
    if (fds->count == 1 && !unexpected) {
        *(conn->in.pending_fd < 0 ? &conn->in.pending_fd : &conn->in.later_fd) = fds->fds[0];
        return;
    }
    for (size_t i = 0; i < fds->count; i++)
        disposal_descriptor(conn->worker, conn->user, fds->fds[i]);
    if (unexpected)
        conn_refuse(conn, -EPROTO, "a request came with more than one file descriptor");
}

/* Its files do not close as fast as it sends others. */
static void conn_check_crowd(struct conn *conn, const struct fdpass *fds)
{
    if (fds->count > 0 && conn->state != CONN_CLOSING && disposal_is_crowded(conn->user))
        conn_refuse(conn, -EDQUOT,
                    "%u files of this user wait to be closed, and what they are on does not answer",
                    atomic_load(&conn->user->closing));
}

/* Counts what went directly to the payload that was under way. */
static size_t conn_continue_payload(struct conn *conn, size_t got)
{
    struct request *request = conn->in.receiving;
    size_t rest = request->payload.bytes - request->payload.received_bytes;
    size_t taken = got < rest ? got : rest;
    request->payload.received_bytes += (uint32_t)taken;
    if (taken == rest) {
        conn->in.receiving = NULL;
        conn->in.frames++;
        dispatch_run(request);
    }
    return taken;
}

static size_t conn_receive_room(const struct conn *conn)
{
    if (conn->in.large && conn->in.receiving != NULL)
        return CONN_READ_AHEAD_LARGE;
    return conn->in.large && conn->in.stash_bytes == 0
               ? CONN_READ_AHEAD_LARGE
               : WORKER_RECEIVE_BYTES - conn->in.stash_bytes;
}

/* One receive and what follows from it. False if there is nothing more for now. */
static bool conn_receive(struct conn *conn)
{
    uint8_t *buffer = conn->worker->memory.receive_buffer;
    struct request *receiving = conn->in.receiving;
    struct iovec vectors[2];
    struct fdpass fds;
    size_t room = conn_receive_room(conn);
    struct msghdr message = {.msg_iov = vectors};

    if (receiving != NULL)
        vectors[message.msg_iovlen++] = (struct iovec){
            .iov_base = receiving->payload.buffer->data + receiving->payload.received_bytes,
            .iov_len = receiving->payload.bytes - receiving->payload.received_bytes};
    size_t asked = room + (receiving != NULL ? vectors[0].iov_len : 0);
    vectors[message.msg_iovlen++] =
        (struct iovec){.iov_base = buffer + conn->in.stash_bytes, .iov_len = room};

    ssize_t result = fdpass_receive(conn->fd, &message, MSG_DONTWAIT, &fds);
    if (result == -EAGAIN)
        return false;
    conn->worker->polling.activity++;
    if (result <= 0) {
        conn_close(conn);
        return false;
    }
    conn_take_descriptors(conn, &fds);
    conn_check_crowd(conn, &fds);
    if (conn->state == CONN_CLOSING)
        return false;

    size_t got = (size_t)result;
    bool drained = got < asked;
    if (receiving != NULL)
        got -= conn_continue_payload(conn, got);
    if (conn->in.stash_bytes > 0)
        (void)memcpy(buffer, conn->in.stash, conn->in.stash_bytes);
    conn_parse(conn, (struct input){.bytes = buffer, .length = conn->in.stash_bytes + got});
    return !drained && conn->state != CONN_CLOSING && !conn->in.paused;
}

void on_conn_readable(evutil_socket_t fd, short what, void *user_data)
{
    struct conn *conn = user_data;
    (void)fd;
    (void)what;
    for (unsigned int i = 0; i < CONN_TURN; i++) {
        if (!conn_receive(conn))
            return;
    }
}

void conn_resume(struct conn *conn)
{
    if (conn->channel != NULL && conn->state == CONN_SERVING && conn_has_room(conn))
        channel_resume(conn->channel);
    if (!conn->in.paused || conn->state > CONN_SERVING || !conn_has_room(conn))
        return;
    conn->in.paused = false;
    if (conn->times.frame_since_ms != 0)
        conn->times.frame_since_ms += clock_ms() - conn->times.paused_at_ms;
    conn_watch_time(conn);
    (void)event_add(conn->in.event, NULL);
    if (conn->in.stash_bytes > 0)
        conn_parse(conn, (struct input){.bytes = conn->in.stash, .length = conn->in.stash_bytes});
}
