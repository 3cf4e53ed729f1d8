/* SPDX-License-Identifier: MIT */
/*
 * A transfer of any length, in pieces of which several are in flight. Pieces are given and handed
 * back in the order of their offsets, whatever order they complete in:
 *
 *   piece = stream_next(); fill it; stream_submit_…(piece); … piece = stream_wait(); use it;
 * stream_release();
 */
#ifndef BLKD_CLI_STREAM_H
#define BLKD_CLI_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/blkd.h"

enum {
    STREAM_DEPTH = 8,
    STREAM_PIECE_MAX = 1024 * 1024,
};

struct stream_piece {
    struct iovec buffer; /* iov_len: the bytes to transfer, whole sectors, up to piece_bytes */
    uint64_t offset_bytes;
    bool done;
    int result;    /* once it is done: 0 or a negative errno */
    char *message; /* and why, if it failed and there was memory for it */
    enum blkd_reason reason;
};

struct stream {
    struct blkd *connection;
    struct blkd_device *device;
    uint32_t sector_size;
    size_t piece_bytes;
    struct stream_piece pieces[STREAM_DEPTH]; /* a circle: `in_flight` of them from `oldest` on */
    size_t oldest;
    size_t in_flight; /* submitted and not yet released */
    void *memory;
};

/* Returns 0 or a negative errno; stream_deinit is right after both. */
int stream_init(struct stream *stream, struct blkd *connection, struct blkd_device *device,
                uint32_t sector_size);

/* Why the piece failed; valid as long as the piece is. */
const char *stream_message(const struct stream_piece *piece);

/* Waits for what is in flight. */
void stream_deinit(struct stream *stream);

/* The piece to submit next; NULL while all are in flight. */
struct stream_piece *stream_next(struct stream *stream);

/* Reads into, or writes from, the piece that stream_next gave. Returns 0 or a negative errno, then
 * with libblkd's message. */
int stream_submit_read(struct stream *stream, struct stream_piece *piece);
int stream_submit_write(struct stream *stream, struct stream_piece *piece, unsigned int flags);

/*
 * Waits for the oldest piece that is in flight; its result is in it, also when the connection was
 * lost meanwhile. It stays the oldest until it is released. There is one in flight.
 */
struct stream_piece *stream_wait(struct stream *stream);
void stream_release(struct stream *stream);

#endif
