/* SPDX-License-Identifier: MIT */
/* See buffer.h. */
#include "client/lib/ring/buffers.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/lib/base/error.h"
#include "client/lib/call/call.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/ring/arena.h"
#include "client/lib/ring/rings.h"

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

static void private_free(void *node)
{
    struct private_buffer *buffer = node;

    (void)munmap(buffer->base, buffer->size_bytes);
    free(buffer);
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

static int private_alloc(struct buffers *buffers, size_t size_bytes, void **ret_base)
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
        private_free(buffer);
        return -ENOMEM;
    }
    *ret_base = buffer->base;
    return 0;
}

/* Takes a buffer out of the tree. NULL: there is none at that address. */
static struct private_buffer *private_take(struct buffers *buffers, void *base)
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
    tdestroy(buffers->privates, private_free);
    buffers->privates = NULL;
    (void)pthread_cond_destroy(&buffers->grown);
}

/* ---- shared memory ---- */

/* Of the arenas with nothing in use, but for `other` (may be NULL), the largest; NULL: there is
 * none. */
static struct arena *shared_find_spare(struct arena_set *set, const struct arena *other)
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

/* Where two arenas have nothing in use, the smaller one goes. */
static void shared_keep_one_spare(struct blkd *connection, struct arena *emptied)
{
    struct arena *spare = shared_find_spare(&connection->arenas, emptied);

    if (spare != NULL)
        (void)ring_remove_arena(connection,
                                spare->size_bytes < emptied->size_bytes ? spare : emptied);
}

static size_t shared_arena_bytes(const struct arena_set *set, size_t size_bytes)
{
    size_t total_bytes = BUFFER_ARENA_MIN;

    for (uint32_t i = 0; i < set->count; i++)
        total_bytes += set->arenas[i].size_bytes;
    if (total_bytes > BUFFER_ARENA_MAX)
        total_bytes = BUFFER_ARENA_MAX;
    return total_bytes > size_bytes ? total_bytes : size_bytes;
}

/* Refused for want of room, it asks for just what is needed. What is kept unused counts towards the
 * quota, so that is given back before. */
static int shared_ask(struct blkd *connection, size_t size_bytes)
{
    size_t arena_bytes = shared_arena_bytes(&connection->arenas, size_bytes);
    int r = ring_add_arena(connection, arena_bytes);
    struct arena *spare;

    if (r != -EDQUOT && r != -ENOMEM && r != -ENOSPC)
        return r;
    spare = shared_find_spare(&connection->arenas, NULL);
    if (spare == NULL && (r == -ENOSPC || arena_bytes == size_bytes))
        return r;
    if (spare != NULL && ring_remove_arena(connection, spare) < 0)
        return r;
    return ring_add_arena(connection, size_bytes);
}

/* Mutex held, given up meanwhile. 0: there may be room now. */
static int shared_grow(struct blkd *connection, size_t size_bytes)
{
    struct buffers *buffers = &connection->buffers;
    int r;

    if (buffers->growing) {
        (void)pthread_cond_wait(&buffers->grown, &connection->mutex);
        return 0;
    }
    buffers->growing = true;
    r = shared_ask(connection, size_bytes);
    buffers->growing = false;
    (void)pthread_cond_broadcast(&buffers->grown);
    return r;
}

/* NULL: the daemon gives no memory, or cannot be asked. Mutex held, given up meanwhile. */
static void *shared_alloc(struct blkd *connection, size_t size_bytes)
{
    void *base = NULL;

    while (!connection->lost) {
        base = arena_alloc(&connection->arenas, size_bytes);
        if (base != NULL || dispatch_inside(connection) || shared_grow(connection, size_bytes) < 0)
            break;
    }
    return base;
}

/* ---- the interface ---- */

/* Mutex held, given up meanwhile. *ret_stale_bytes: so many at the beginning are to be zeroed. */
static int buffer_alloc(struct blkd *connection, size_t size_bytes, void **ret_base,
                        size_t *ret_stale_bytes)
{
    void *base = shared_alloc(connection, size_bytes);

    *ret_stale_bytes = 0;
    if (base == NULL)
        return private_alloc(&connection->buffers, size_bytes, ret_base);
    *ret_stale_bytes = arena_stale_bytes(&connection->arenas, base, size_bytes);
    *ret_base = base;
    return 0;
}

static int buffer_check(const struct blkd *connection, size_t size_bytes, void *const *ret_buffer)
{
    if (connection == NULL || ret_buffer == NULL)
        return error_report(-EINVAL, "allocating a buffer without %s",
                            connection == NULL ? "a connection" : "a place for its address");
    if (size_bytes == 0)
        return error_report(-EINVAL, "allocating a buffer of 0 bytes: it has at least one");
    /* Of the checks for a call only that for a child applies: callbacks may allocate. */
    return forkguard_tripped(&connection->forkguard) ? call_check(connection, CALL_WAITS) : 0;
}

static int buffer_report_memory(int error, size_t size_bytes)
{
    return error_report(error,
                        "allocating a buffer of %zu bytes: the process cannot have so much "
                        "memory (free some, or raise its limits of memory and mappings)",
                        size_bytes);
}

int blkd_buffer_alloc(struct blkd *connection, size_t size_bytes, void **ret_buffer)
{
    size_t rounded_bytes;
    size_t stale_bytes;
    void *base;
    int r = buffer_check(connection, size_bytes, ret_buffer);

    if (r < 0)
        return r;
    if (size_bytes > PTRDIFF_MAX - ARENA_PAGE_BYTES)
        return buffer_report_memory(-ENOMEM, size_bytes);
    rounded_bytes = (size_bytes + ARENA_PAGE_BYTES - 1) & ~((size_t)ARENA_PAGE_BYTES - 1);
    pthread_mutex_lock(&connection->mutex);
    r = buffer_alloc(connection, rounded_bytes, &base, &stale_bytes);
    pthread_mutex_unlock(&connection->mutex);
    if (r < 0)
        return buffer_report_memory(r, size_bytes);
    if (stale_bytes > 0)
        memset(base, 0, stale_bytes);
    *ret_buffer = base;
    return 0;
}

void blkd_buffer_free(struct blkd *connection, void *buffer)
{
    struct private_buffer *private_buffer = NULL;
    struct arena *arena;

    if (connection == NULL || buffer == NULL || forkguard_tripped(&connection->forkguard))
        return;
    pthread_mutex_lock(&connection->mutex);
    arena = arena_free(&connection->arenas, buffer);
    if (arena == NULL)
        private_buffer = private_take(&connection->buffers, buffer);
    else if (arena->used_pages == 0)
        shared_keep_one_spare(connection, arena);
    pthread_mutex_unlock(&connection->mutex);
    if (private_buffer != NULL)
        private_free(private_buffer);
}
