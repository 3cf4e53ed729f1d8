/* SPDX-License-Identifier: MIT */
/* See receiver.h. */
#include "client/lib/link/receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/frame.h"

int receiver_init(struct receiver *receiver, int socket, const struct replies *replies)
{
    receiver->socket = socket;
    receiver->replies = *replies;
    receiver->step.received.count = receiver->descriptors.count = 0;
    receiver->bytes.buffer = malloc(RECEIVER_BUFFER_BYTES);
    return receiver->bytes.buffer != NULL ? 0 : -ENOMEM;
}

void receiver_deinit(struct receiver *receiver)
{
    descriptors_close(&receiver->descriptors);
    wire_arena_deinit(&receiver->arena);
    free(receiver->bytes.buffer);
    receiver->bytes.buffer = NULL;
}

/* The payload that comes next is this request's. */
static void receiver_aim(struct receiver *receiver, struct request *request)
{
    receiver->target.request = request;
    receiver->target.cursor = request->payload;
    receiver->target.left_bytes = request->length_bytes;
}

/* What stands unused in the buffer moves to its beginning: at most one incomplete header. */
static void receiver_compact(struct receiver *receiver)
{
    size_t kept = receiver->bytes.end - receiver->bytes.begin;

    if (receiver->bytes.begin > 0 && kept > 0)
        memmove(receiver->bytes.buffer, receiver->bytes.buffer + receiver->bytes.begin, kept);
    receiver->bytes.begin = 0;
    receiver->bytes.end = kept;
}

static size_t receiver_room(const struct receiver *receiver)
{
    size_t room = RECEIVER_BUFFER_BYTES - receiver->bytes.end;
    size_t useful = RECEIVER_SMALL_BYTES;

    if (receiver->replies.requests->large_reads_in_flight == 0)
        return room;
    if (useful < receiver->bytes.wanted)
        useful = receiver->bytes.wanted;
    return useful < room ? useful : room;
}

void receiver_prepare(struct receiver *receiver)
{

    receiver_compact(receiver);
    receiver->step.iov_count = 0;
    receiver->step.direct_bytes = 0;
    if (receiver->target.request != NULL)
        receiver->step.iov_count =
            cursor_view(&receiver->target.cursor, receiver->target.left_bytes, receiver->step.iov,
                        IOV_MAX - 1, &receiver->step.direct_bytes);
    if (receiver->step.direct_bytes == receiver->target.left_bytes)
        receiver->step.iov[receiver->step.iov_count++] =
            (struct iovec){receiver->bytes.buffer + receiver->bytes.end, receiver_room(receiver)};
}

ssize_t receiver_receive(struct receiver *receiver)
{
    struct msghdr message = {.msg_iov = receiver->step.iov, .msg_iovlen = receiver->step.iov_count};

    return fdpass_receive(receiver->socket, &message, MSG_DONTWAIT, &receiver->step.received);
}

/* Payload that came into the buffer with what was before it. */
static void receiver_copy_payload(struct receiver *receiver)
{
    size_t here = receiver->bytes.end - receiver->bytes.begin;

    if (here > receiver->target.left_bytes)
        here = receiver->target.left_bytes;
    cursor_fill(&receiver->target.cursor, receiver->bytes.buffer + receiver->bytes.begin, here);
    receiver->bytes.begin += here;
    receiver->target.left_bytes -= here;
}

static bool receiver_step_payload(struct receiver *receiver)
{
    struct request *request = receiver->target.request;

    receiver_copy_payload(receiver);
    if (receiver->target.left_bytes > 0)
        return false;
    receiver->target.request = NULL;
    reply_finish(&receiver->replies, request);
    return true;
}

static bool receiver_step_header(struct receiver *receiver)
{
    const uint8_t *bytes = receiver->bytes.buffer + receiver->bytes.begin;
    size_t here = receiver->bytes.end - receiver->bytes.begin;
    struct frame_prefix prefix;
    const Blkd__Reply *reply;
    struct request *target;
    size_t whole;
    int r;

    receiver->bytes.wanted = 0;
    if (here < FRAME_PREFIX_BYTES)
        return false;
    r = frame_decode(bytes, &prefix);
    if (r < 0) {
        call_table_lose(receiver->replies.calls, "the daemon sent a frame of invalid size");
        return false;
    }
    whole = FRAME_PREFIX_BYTES + prefix.header_bytes;
    if (here < whole) {
        receiver->bytes.wanted = whole - here;
        return false;
    }
    r = wire_unpack_reply(&receiver->arena, bytes + FRAME_PREFIX_BYTES, prefix.header_bytes,
                          &reply);
    if (r < 0) {
        call_table_lose(receiver->replies.calls,
                        "the daemon sent a reply that cannot be decoded (%s)", blkd_strerror(r));
        return false;
    }
    receiver->bytes.begin += whole;
    if (!reply_take(&receiver->replies, reply, prefix.payload_bytes, &target))
        return false;
    if (target != NULL)
        receiver_aim(receiver, target);
    return true;
}

void receiver_take(struct receiver *receiver, size_t bytes)
{
    size_t direct = bytes < receiver->step.direct_bytes ? bytes : receiver->step.direct_bytes;

    descriptors_take(&receiver->descriptors, &receiver->step.received);
    if (receiver->replies.calls->lost) {
        descriptors_close(&receiver->descriptors);
        return;
    }
    if (direct > 0)
        cursor_advance(&receiver->target.cursor, direct);
    receiver->target.left_bytes -= direct;
    receiver->bytes.end += bytes - direct;
    while (receiver->target.request != NULL ? receiver_step_payload(receiver)
                                            : receiver_step_header(receiver))
        ;
    if (receiver->bytes.begin == receiver->bytes.end)
        descriptors_close(&receiver->descriptors);
}

void receiver_lose(struct receiver *receiver)
{
    receiver->target.request = NULL;
    receiver->bytes.begin = receiver->bytes.end = 0;
}
