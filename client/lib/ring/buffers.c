/* SPDX-License-Identifier: MIT */
/* See buffers.h. */
#include "client/lib/ring/buffers.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    BUFFER_ARENA_MIN = 2 * 1024 * 1024,
    BUFFER_ARENA_MAX = 64 * 1024 * 1024, /* but for a buffer that is larger */
};

/* ---- ordinary memory ---- */

struct private_buffer {
    void *base;
    size_t size_bytes;
};

static int private_compare(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t)((const struct private_buffer *)left)->base;
    uintptr_t b = (uintptr_t)((const struct private_buffer *)right)->base;

    return (a > b) - (a < b);
}

void private_buffer_free(struct private_buffer *buffer)
{
    (void)munmap(buffer->base, buffer->size_bytes);
    free(buffer);
}

static void private_free_node(void *node)
{
    private_buffer_free(node);
}

/* Like shared memory it is gone in a child, so that programs see one behaviour. */
static int private_map(size_t size_bytes, void **ret_base)
{
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED)
        return -errno;
    if (madvise(base, size_bytes, MADV_DONTFORK) < 0) {
        int error = -errno;
        (void)munmap(base, size_bytes);
        return error;
    }
    *ret_base = base;
    return 0;
}

int buffers_alloc_private(struct buffers *buffers, size_t size_bytes, void **ret_base)
{
    struct private_buffer *buffer = malloc(sizeof(*buffer));
    int r;

    if (buffer == NULL)
        return -ENOMEM;
    buffer->size_bytes = size_bytes;
    r = private_map(size_bytes, &buffer->base);
    if (r < 0) {
        free(buffer);
        return r;
    }
    if (tsearch(buffer, &buffers->privates, private_compare) == NULL) {
        private_buffer_free(buffer);
        return -ENOMEM;
    }
    *ret_base = buffer->base;
    return 0;
}

struct private_buffer *buffers_take_private(struct buffers *buffers, void *base)
{
    const struct private_buffer key = {.base = base};
    struct private_buffer **found = tfind(&key, &buffers->privates, private_compare);
    struct private_buffer *buffer;

    if (found == NULL)
        return NULL;
    buffer = *found;
    (void)tdelete(&key, &buffers->privates, private_compare);
    return buffer;
}

void buffers_init(struct buffers *buffers)
{
    buffers->privates = NULL;
    buffers->growing = false;
    (void)pthread_cond_init(&buffers->grown, NULL);
}

void buffers_deinit(struct buffers *buffers)
{
    tdestroy(buffers->privates, private_free_node);
    buffers->privates = NULL;
    (void)pthread_cond_destroy(&buffers->grown);
}

/* ---- shared memory ---- */

struct arena *buffers_find_spare(struct arena_set *set, const struct arena *other)
{
    struct arena *spare = NULL;

    for (uint32_t i = 0; i < set->count; i++) {
        struct arena *arena = &set->arenas[i];

        if (arena == other || arena->base == NULL || arena->used_pages > 0)
            continue;
        if (spare == NULL || arena->size_bytes > spare->size_bytes)
            spare = arena;
    }
    return spare;
}

size_t buffers_arena_bytes(const struct arena_set *set, size_t size_bytes)
{
    size_t total_bytes = BUFFER_ARENA_MIN;

    for (uint32_t i = 0; i < set->count; i++)
        total_bytes += set->arenas[i].size_bytes;
    if (total_bytes > BUFFER_ARENA_MAX)
        total_bytes = BUFFER_ARENA_MAX;
    return total_bytes > size_bytes ? total_bytes : size_bytes;
}
