/* SPDX-License-Identifier: MIT */
/* See cursor.h. */
#include "client/cursor.h"

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

void cursor_fill(struct cursor *cursor, const void *source, size_t bytes)
{
    const uint8_t *from = source;

    while (bytes > 0) {
        size_t here = smaller(cursor->iov->iov_len - cursor->skip_bytes, bytes);
        if (here > 0)
            memcpy((uint8_t *)cursor->iov->iov_base + cursor->skip_bytes, from, here);
        cursor_advance(cursor, here);
        if (here == 0)
            cursor->iov++;
        from += here;
        bytes -= here;
    }
}
