/* SPDX-License-Identifier: MIT */
/*
 * A frame on its way out: prefix and header, and the payload after them.
 */
#ifndef BLKD_DAEMON_LINK_OUTGOING_H
#define BLKD_DAEMON_LINK_OUTGOING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/blkd.pb-c.h"

enum { OUTGOING_INLINE_BYTES = 96, OUTGOING_FDS = 2 };

struct outgoing {
    STAILQ_ENTRY(outgoing) link;
    uint8_t *head; /* inline_bytes, or allocated */
    size_t head_bytes;
    const uint8_t *payload; /* owned by whoever `release` belongs to */
    size_t payload_bytes;
    void (*release)(struct outgoing *outgoing); /* sent, or dropped with the connection */
    /* Its descriptors cannot be sent (ETOOMANYREFS, unix(7)): it becomes a frame without any. Only
     * of one that has some. */
    void (*on_unsendable)(struct outgoing *outgoing);
    unsigned int fd_count;
    int fds[OUTGOING_FDS]; /* its own: they go with its first byte */
    uint8_t inline_bytes[OUTGOING_INLINE_BYTES];
};

STAILQ_HEAD(outgoing_queue, outgoing);

/* Packs prefix and header. 0 or -ENOMEM. */
int outgoing_pack(struct outgoing *outgoing, const Blkd__Reply *reply, size_t payload_bytes);
/* Frees the head and closes the descriptors. */
void outgoing_deinit(struct outgoing *outgoing);

/* A frame by itself, for events and reasons of closing; frees itself. NULL: no memory. */
struct outgoing *outgoing_new(const Blkd__Reply *reply);

#endif
