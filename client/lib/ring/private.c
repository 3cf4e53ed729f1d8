/* SPDX-License-Identifier: MIT */
/* See private.h. */
#include "client/lib/ring/private.h"

#include <search.h>
#include <stdint.h>

int private_buffer_compare(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t)((const struct private_buffer *)left)->base;
    uintptr_t b = (uintptr_t)((const struct private_buffer *)right)->base;

    return (a > b) - (a < b);
}

struct private_buffer *private_buffer_take(void **tree, void *base)
{
    const struct private_buffer key = {.base = base};
    struct private_buffer **found = tfind(&key, tree, private_buffer_compare);
    struct private_buffer *buffer;

    if (found == NULL)
        return NULL;
    buffer = *found;
    (void)tdelete(&key, tree, private_buffer_compare);
    return buffer;
}
