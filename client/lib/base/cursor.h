/* SPDX-License-Identifier: MIT */
/*
 * A place in a list of buffers, as payload goes out of it or comes into it piece by piece. Pure.
 * The list belongs to somebody else and must outlive the cursor; nobody moves a cursor past its
 * end.
 */
#ifndef BLKD_CLIENT_LIB_BASE_CURSOR_H
#define BLKD_CLIENT_LIB_BASE_CURSOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct cursor {
    const struct iovec *iov; /* the buffer that the place is in */
    size_t skip_bytes;       /* how far into it */
};

void cursor_init(struct cursor *cursor, const struct iovec *iov);

void cursor_advance(struct cursor *cursor, size_t bytes);

/* Lists the next `bytes` bytes, or as many as `max` entries hold, without moving. Returns the
 * number of entries; what they hold together is in *ret_bytes. */
size_t cursor_view(const struct cursor *cursor, size_t bytes, struct iovec *entries, size_t max,
                   size_t *ret_bytes);

/* Copies `bytes` bytes out of the buffers and moves past them. */
void cursor_drain(struct cursor *cursor, void *target, size_t bytes);

/* Copies `bytes` bytes into the buffers and moves past them. */
void cursor_fill(struct cursor *cursor, const void *source, size_t bytes);

/* How many of the next bytes, at most `most` (not 0, and not past the end), lie together, be it in
 * several buffers; and where. */
size_t cursor_run(const struct cursor *cursor, size_t most, uint8_t **ret_run);

#endif
