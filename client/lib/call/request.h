/* SPDX-License-Identifier: MIT */
/*
 * One frame, or one submission, on its way to the daemon and the answer to it. The requests of a
 * connection stand in a table of fixed size; a request's id is its place in the table and the
 * number of times that the place was used, so that an answer finds its request without a search and
 * an answer to nothing is noticed.
 */
#ifndef BLKD_CLIENT_LIB_CALL_REQUEST_H
#define BLKD_CLIENT_LIB_CALL_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/lib/base/cursor.h"
#include "common/ring.h"

struct call;

enum {
    REQUESTS_MAX = 1024, /* in flight at once, whatever more the daemon allows */
    REQUEST_PLACES = REQUESTS_MAX + RING_ENTRIES_MAX, /* those of the rings are counted apart */
    /* Payload in flight at once; what the daemon buffers for a connection before it stops reading.
     */
    REQUEST_WINDOW_BYTES = 4 * 1024 * 1024,
    REQUEST_HEADER_INLINE = 104,     /* every frame prefix and header but those with a path */
    REQUEST_LARGE_BYTES = 32 * 1024, /* a read this large is worth receiving without a copy */
};

/* Its frame, while it is sent through the socket. */
struct request_frame {
    uint8_t *header; /* `header_inline` or allocated; NULL: none */
    uint32_t header_bytes;
    uint32_t header_sent_bytes;
    uint32_t payload_unsent_bytes;
    bool queued;   /* in the send queue */
    bool answered; /* while it is still being sent: ends when it is sent */
    uint8_t header_inline[REQUEST_HEADER_INLINE];
};

struct request {
    STAILQ_ENTRY(request) link; /* in the send queue or the free list */
    struct call *call;          /* NULL: free */
    uint32_t generation;
    bool by_ring;
    uint64_t offset_bytes;
    uint32_t length_bytes; /* of its payload, in either direction */
    struct cursor payload; /* OUT: what is still to send. IN: where it goes */
    uint8_t *bounce;       /* by ring: shared memory that the payload is copied through, or NULL */
    struct request_frame frame;
};

STAILQ_HEAD(request_queue, request);

/* Under the connection's mutex. */
struct request_table {
    struct request *requests;
    struct request_queue free;
    uint32_t limit;     /* in flight at once */
    uint32_t used;      /* places of the table that were ever used */
    uint32_t in_flight; /* this and what follows: through the socket */
    uint32_t large_reads_in_flight;
    uint64_t bytes_in_flight;
    uint32_t max_io_bytes;
};

int request_table_init(struct request_table *table);
void request_table_deinit(struct request_table *table);

uint64_t request_id(const struct request_table *table, const struct request *request);

/* The request in flight with this id, or NULL. */
struct request *request_find(struct request_table *table, uint64_t id);

/* Whether the limits let the call's next part start now. */
bool request_may_start(const struct request_table *table, const struct call *call);

/* Makes the call's next part and packs it. Returns 0 or -ENOMEM. */
int request_start(struct request_table *table, struct call *call, struct request **ret_request);

/* Makes the call's next part, which goes by ring and takes length_bytes of payload. The caller
 * keeps to the ring's limit. */
struct request *request_start_by_ring(struct request_table *table, struct call *call,
                                      uint32_t length_bytes);

/* Frees all requests without a word to their calls: the connection is lost. */
void request_table_clear(struct request_table *table);

/* The request is over: its place is free. */
void request_free(struct request_table *table, struct request *request);

#endif
