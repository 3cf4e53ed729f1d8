/* SPDX-License-Identifier: MIT */
/*
 * The way in: bytes of the socket become replies. Small replies arrive many at once in one buffer
 * and their payload is copied out; the payload of large reads goes from the socket straight into
 * the user's buffers, with the beginning of the next frame behind it in the same recvmsg(2).
 *
 * Only the thread that reads may call receiver_receive, without the mutex; everything else is done
 * with the mutex held.
 *
 * Descriptors come with the first byte of their frame, and recvmsg(2) returns no bytes behind that
 * frame's sendmsg(2) with them; those that no reply claims are closed.
 */
#ifndef BLKD_CLIENT_LIB_LINK_RECEIVER_H
#define BLKD_CLIENT_LIB_LINK_RECEIVER_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "client/lib/base/cursor.h"
#include "client/lib/base/descriptors.h"
#include "client/lib/link/reply.h"
#include "common/fdpass.h"
#include "common/limits.h"
#include "common/wire.h"

enum {
    RECEIVER_BUFFER_BYTES = FRAME_PREFIX_BYTES + FRAME_HEADER_MAX,
    /* How much is received behind a large payload: the next reply's header, and little that would
       have to be copied. */
    RECEIVER_SMALL_BYTES = 512,
};

/* Received bytes that are not used yet. */
struct receiver_bytes {
    uint8_t *buffer;
    size_t begin, end;
    size_t wanted; /* more of them that the frame at hand needs */
};

/* The reply whose payload is coming in. */
struct receiver_target {
    struct request *request; /* NULL: none */
    struct cursor cursor;
    size_t left_bytes;
};

/* One recvmsg: laid out by receiver_prepare, then the reading thread's until receiver_take. */
struct receiver_step {
    struct iovec iov[IOV_MAX];
    size_t iov_count;
    size_t direct_bytes; /* of it, the part that goes to the user's buffers */
    struct fdpass received;
};

/* Under the connection's mutex, except what a step in progress reads into. */
struct receiver {
    int socket;             /* constant; the connection's to close */
    struct replies replies; /* constant */
    struct receiver_bytes bytes;
    struct receiver_target target;
    struct receiver_step step;
    struct descriptors descriptors; /* came with the frame that is being taken in */
    struct wire_arena arena;        /* where its header is decoded */
};

/* `replies` is copied. 0 or -ENOMEM. */
int receiver_init(struct receiver *receiver, int socket, const struct replies *replies);
void receiver_deinit(struct receiver *receiver);

/* Lays out the buffers for one receiver_receive. */
void receiver_prepare(struct receiver *receiver);

/* Receives once without blocking. Returns the bytes, 0 at the end, or a negative errno. */
ssize_t receiver_receive(struct receiver *receiver);

/* Takes in `bytes` received bytes and completes what they complete. Bytes that make no sense lose
 * the connection. */
void receiver_take(struct receiver *receiver, size_t bytes);

/* The connection is lost: nothing more is taken in. */
void receiver_lose(struct receiver *receiver);

#endif
