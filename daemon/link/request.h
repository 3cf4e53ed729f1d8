/* SPDX-License-Identifier: MIT */
/*
 * A request from its frame to its reply. It belongs to its connection's worker, and ends exactly
 * once: by request_finish, request_fail or request_reply, which queue the reply (or drop it, when
 * the connection is gone) and give up the session.
 */
#ifndef BLKD_DAEMON_LINK_REQUEST_H
#define BLKD_DAEMON_LINK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/base/buffer.h"
#include "daemon/device/device.h"
#include "daemon/link/outgoing.h"
#include "daemon/storage/backend.h"
#include "proto/blkd.pb-c.h"

struct channel;
struct channel_arena;
struct conn;
struct operation;
struct opening;
struct session;

struct request {
    struct outgoing out; /* first: the reply, when the request is done */
    struct conn *conn;
    struct channel *channel;     /* that it came by, or NULL: by the socket */
    struct channel_arena *arena; /* of a transfer by the channel, and what it reads to */
    uint8_t *memory;             /* or writes from there */
    struct session *session;     /* held from dispatch on, if the operation needs one */
    const struct operation *operation;
    LIST_ENTRY(request) id_link;
    uint64_t id;

    /* What was asked, copied from the message by the operation's prepare. */
    uint64_t session_number;
    uint64_t offset_bytes;
    uint64_t length_bytes;
    uint64_t transfer_end_bytes;
    uint64_t value;
    uint32_t flags;
    struct opening *opening;

    const uint8_t *payload; /* of a write: in `buffer`, or borrowed from the receive buffer */
    uint32_t payload_bytes;
    uint32_t received_bytes; /* of the payload, while it comes */
    struct buffer *buffer;   /* a write's payload or a read's answer */
    size_t charged_bytes;    /* against CONN_BUFFERED_MAX */

    void (*undo)(struct request *request); /* request_set_undo */
    void *extra; /* what rare operations need beside; freed with the request */
    STAILQ_ENTRY(request) spare_link;

    /* From here on a new request is not zeroed: its users fill these whole. */
    struct device_ticket ticket;
    struct io io;
    struct device_flush flush;
    struct device_task task;
    struct device_drain drain;
};

/* Answers: status OK and nothing else, or an errno with no more than its name. */
void request_finish(struct request *request, int result);

/* Answers with `error` (a negative errno) and a sentence: what was tried, on what, why it failed.
 */
void request_fail(struct request *request, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Answers OK with a body; id and status are filled in here. */
void request_reply(struct request *request, Blkd__Reply *reply);

/* Answers OK with the buffer's first length_bytes as payload. */
void request_reply_payload(struct request *request);

/* Another descriptor of what `fd` describes is to go with its reply. 0 or a negative errno. */
int request_attach(struct request *request, int fd);

/* What a reply with descriptors told of is to be undone, because they cannot be sent; the reply
 * becomes one of failure. */
void request_set_undo(struct request *request, void (*undo)(struct request *request));

/* Makes the payload the request's own if it is borrowed. 0 or -ENOMEM. */
int request_own_payload(struct request *request);

/* Frees what the request holds, after its reply has been sent or dropped. */
void request_release(struct request *request);

#endif
