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
#include "daemon/device/flush.h"
#include "daemon/device/gate.h"
#include "daemon/device/task.h"
#include "daemon/link/outgoing.h"
#include "daemon/storage/backend.h"
#include "proto/blkd.pb-c.h"

struct channel;
struct channel_arena;
struct conn;
struct operation;
struct session;

/* What was asked, copied from the message by the operation's prepare. */
struct request_asked {
    uint64_t session;
    uint64_t offset_bytes;
    uint64_t length_bytes;
    uint64_t transfer_end_bytes;
    uint64_t value;
    uint32_t flags;
};

/* The way by which it came, when that is not the socket. */
struct request_ring {
    struct channel *channel;     /* or NULL: by the socket */
    struct channel_arena *arena; /* of a transfer, and what it reads to */
    uint8_t *memory;             /* or writes from there */
};

/* The bytes that came with it, or that its reply takes along. */
struct request_payload {
    const uint8_t *data; /* of a write: in `buffer`, or borrowed from the receive buffer */
    uint32_t bytes;
    uint32_t received_bytes; /* while it comes */
    struct buffer *buffer;   /* a write's payload or a read's answer */
};

/* For verbs: what they do to a device. Not zeroed in a new request: its users fill these whole. */
struct request_work {
    struct gate_ticket ticket;
    struct io io;
    struct flush flush;
    struct task task;
    struct drain drain;
};

struct request {
    struct outgoing out; /* first: the reply, when the request is done */
    struct conn *conn;
    struct session *session; /* held from dispatch on, if the operation needs one */
    const struct operation *operation;
    LIST_ENTRY(request) id_link;
    STAILQ_ENTRY(request) spare_link;
    uint64_t id;
    struct request_asked asked;
    struct request_ring ring;
    struct request_payload payload;
    enum refusal refusal;                  /* goes with a failure */
    size_t charged_bytes;                  /* against CONN_BUFFERED_MAX */
    void (*undo)(struct request *request); /* request_set_undo */
    void *extra;                           /* what rare operations need beside */
    void (*free_extra)(void *extra);       /* frees it with the request; NULL: free(3) */

    struct request_work work; /* last */
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

/* Nothing uses the arena any more, whose removal was asked for: it is gone, and that is answered.
 */
void request_end_removal(struct channel *channel, struct channel_arena *arena);

#endif
