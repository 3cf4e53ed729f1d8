/* SPDX-License-Identifier: MIT */
/* See cursor.h. */
#include "client/lib/base/cursor.h"

#include <stdint.h>
#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void cursor_init(struct cursor *cursor, const struct iovec *iov)
{
    *cursor = (struct cursor){.iov = iov};
}

void cursor_advance(struct cursor *cursor, size_t bytes)
{
    while (bytes > 0) {
        size_t here = cursor->iov->iov_len - cursor->skip_bytes;
        if (bytes < here) {
            cursor->skip_bytes += bytes;
            return;
        }
        bytes -= here;
        cursor->iov++;
        cursor->skip_bytes = 0;
    }
}

size_t cursor_view(const struct cursor *cursor, size_t bytes, struct iovec *entries, size_t max,
                   size_t *ret_bytes)
{
    const struct iovec *iov = cursor->iov;
    size_t skip = cursor->skip_bytes;
    size_t count = 0;
    size_t listed = 0;

    for (; listed < bytes && count < max; iov++, skip = 0) {
        size_t here = smaller(iov->iov_len - skip, bytes - listed);
        if (here == 0)
            continue;
        entries[count++] = (struct iovec){(uint8_t *)iov->iov_base + skip, here};
        listed += here;
    }
    *ret_bytes = listed;
    return count;
}

/* The next bytes that lie together, at most `most`, which is not 0. */
static size_t cursor_piece(struct cursor *cursor, size_t most, uint8_t **ret_piece)
{
    while (cursor->iov->iov_len == cursor->skip_bytes) {
        cursor->iov++;
        cursor->skip_bytes = 0;
    }
    *ret_piece = (uint8_t *)cursor->iov->iov_base + cursor->skip_bytes;
    return smaller(cursor->iov->iov_len - cursor->skip_bytes, most);
}

void cursor_drain(struct cursor *cursor, void *target, size_t bytes)
{
    uint8_t *to = target;
    uint8_t *piece;

    while (bytes > 0) {
        size_t here = cursor_piece(cursor, bytes, &piece);
        memcpy(to, piece, here);
        cursor_advance(cursor, here);
        to += here;
        bytes -= here;
    }
}

void cursor_fill(struct cursor *cursor, const void *source, size_t bytes)
{
    const uint8_t *from = source;
    uint8_t *piece;

    while (bytes > 0) {
        size_t here = cursor_piece(cursor, bytes, &piece);
        memcpy(piece, from, here);
        cursor_advance(cursor, here);
        from += here;
        bytes -= here;
    }
}

size_t cursor_run(const struct cursor *cursor, size_t most, uint8_t **ret_run)
{
    struct cursor place = *cursor;
    size_t length = cursor_piece(&place, most, ret_run);

    while (length < most) {
        cursor_advance(&place, place.iov->iov_len - place.skip_bytes);
        while (place.iov->iov_len == 0)
            place.iov++;
        if (place.iov->iov_base != *ret_run + length)
            break;
        length += smaller(place.iov->iov_len, most - length);
    }
    return length;
}
