/* SPDX-License-Identifier: MIT */
/* See receiver.h. */
#include "client/lib/link/receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client/lib/call/request.h"
#include "client/lib/core/connection.h"
#include "client/lib/link/reply.h"
#include "common/frame.h"

int receiver_init(struct receiver *receiver)
{
    receiver->received.count = receiver->descriptors.count = 0;
    receiver->buffer = malloc(RECEIVER_BUFFER_BYTES);
    return receiver->buffer != NULL ? 0 : -ENOMEM;
}

void receiver_deinit(struct receiver *receiver)
{
    descriptors_close(&receiver->descriptors);
    wire_arena_deinit(&receiver->arena);
    free(receiver->buffer);
    receiver->buffer = NULL;
}

void receiver_aim(struct receiver *receiver, struct request *request)
{
    receiver->target = request;
    receiver->cursor = request->payload;
    receiver->target_left_bytes = request->length_bytes;
}

/* What stands unused in the buffer moves to its beginning: at most one incomplete header. */
static void receiver_compact(struct receiver *receiver)
{
    size_t kept = receiver->end - receiver->begin;

    if (receiver->begin > 0 && kept > 0)
        memmove(receiver->buffer, receiver->buffer + receiver->begin, kept);
    receiver->begin = 0;
    receiver->end = kept;
}

static size_t receiver_room(const struct blkd *connection)
{
    const struct receiver *receiver = &connection->receiver;
    size_t room = RECEIVER_BUFFER_BYTES - receiver->end;
    size_t useful = RECEIVER_SMALL_BYTES;

    if (connection->requests.large_reads_in_flight == 0)
        return room;
    if (useful < receiver->wanted_bytes)
        useful = receiver->wanted_bytes;
    return useful < room ? useful : room;
}

void receiver_prepare(struct blkd *connection)
{
    struct receiver *receiver = &connection->receiver;

    receiver_compact(receiver);
    receiver->iov_count = 0;
    receiver->direct_bytes = 0;
    if (receiver->target != NULL)
        receiver->iov_count = cursor_view(&receiver->cursor, receiver->target_left_bytes,
                                          receiver->iov, IOV_MAX - 1, &receiver->direct_bytes);
    if (receiver->direct_bytes == receiver->target_left_bytes)
        receiver->iov[receiver->iov_count++] =
            (struct iovec){receiver->buffer + receiver->end, receiver_room(connection)};
}

ssize_t receiver_receive(struct blkd *connection)
{
    struct receiver *receiver = &connection->receiver;
    struct msghdr message = {.msg_iov = receiver->iov, .msg_iovlen = receiver->iov_count};

    return fdpass_receive(connection->socket, &message, MSG_DONTWAIT, &receiver->received);
}

/* Payload that came into the buffer with what was before it. */
static void receiver_copy_payload(struct receiver *receiver)
{
    size_t here = receiver->end - receiver->begin;

    if (here > receiver->target_left_bytes)
        here = receiver->target_left_bytes;
    cursor_fill(&receiver->cursor, receiver->buffer + receiver->begin, here);
    receiver->begin += here;
    receiver->target_left_bytes -= here;
}

static bool receiver_step_payload(struct blkd *connection)
{
    struct receiver *receiver = &connection->receiver;
    struct request *request = receiver->target;

    receiver_copy_payload(receiver);
    if (receiver->target_left_bytes > 0)
        return false;
    receiver->target = NULL;
    reply_finish(connection, request);
    return true;
}

static bool receiver_step_header(struct blkd *connection)
{
    struct receiver *receiver = &connection->receiver;
    const uint8_t *bytes = receiver->buffer + receiver->begin;
    size_t here = receiver->end - receiver->begin;
    struct frame_prefix prefix;
    const Blkd__Reply *reply;
    size_t whole;
    int r;

    receiver->wanted_bytes = 0;
    if (here < FRAME_PREFIX_BYTES)
        return false;
    r = frame_decode(bytes, &prefix);
    if (r < 0) {
        handle_lose(connection, "the daemon sent a frame of impossible size");
        return false;
    }
    whole = FRAME_PREFIX_BYTES + prefix.header_bytes;
    if (here < whole) {
        receiver->wanted_bytes = whole - here;
        return false;
    }
    r = wire_unpack_reply(&receiver->arena, bytes + FRAME_PREFIX_BYTES, prefix.header_bytes,
                          &reply);
    if (r < 0) {
        handle_lose(connection, "the daemon sent a reply that cannot be decoded (%s)",
                    blkd_strerror(r));
        return false;
    }
    receiver->begin += whole;
    return reply_take(connection, reply, prefix.payload_bytes);
}

void receiver_take(struct blkd *connection, size_t bytes)
{
    struct receiver *receiver = &connection->receiver;
    size_t direct = bytes < receiver->direct_bytes ? bytes : receiver->direct_bytes;

    descriptors_take(&receiver->descriptors, &receiver->received);
    if (connection->lost) {
        descriptors_close(&receiver->descriptors);
        return;
    }
    if (direct > 0)
        cursor_advance(&receiver->cursor, direct);
    receiver->target_left_bytes -= direct;
    receiver->end += bytes - direct;
    while (receiver->target != NULL ? receiver_step_payload(connection)
                                    : receiver_step_header(connection))
        ;
    if (receiver->begin == receiver->end)
        descriptors_close(&receiver->descriptors);
}
