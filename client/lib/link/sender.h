/* SPDX-License-Identifier: MIT */
/*
 * The way out: calls of the backlog become requests as the limits allow, and requests become bytes
 * on the socket, as many as possible with each sendmsg(2), payload straight from the user's
 * buffers. Never blocks: what the socket does not take waits, and `blocked` says so.
 *
 * A send that fails is not yet the end of the connection: the daemon may have said why, and that is
 * still to be read. So an error only stops the sending.
 */
#ifndef BLKD_CLIENT_LIB_LINK_SENDER_H
#define BLKD_CLIENT_LIB_LINK_SENDER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "client/lib/call/call.h"
#include "client/lib/call/request.h"

/* Under the connection's mutex. */
struct sender {
    int socket;                     /* constant; the connection's to close */
    struct call_table *calls;       /* constant */
    struct request_table *requests; /* constant */
    struct request_queue queue;     /* the first may be sent in part */
    bool blocked;                   /* the socket was full: push again when it is writable */
    bool stopped;
    struct iovec iov[IOV_MAX]; /* what is given to one sendmsg */
};

void sender_init(struct sender *sender, int socket, struct call_table *calls,
                 struct request_table *requests);

/* Sends what can be sent now. */
void sender_push(struct sender *sender);

/* The connection is lost: the requests that were still to be sent are no more. */
void sender_lose(struct sender *sender);

#endif
