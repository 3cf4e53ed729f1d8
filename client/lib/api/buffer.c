/* SPDX-License-Identifier: MIT */
/* Buffers that programs ask for; where the memory comes from is in ring/buffers.h. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/memory.h"
#include "client/lib/core/verb.h"

/* Where two arenas have nothing in use, the smaller one goes. */
static void shared_keep_one_spare(struct blkd *connection, struct arena *emptied)
{
    struct arena *spare = buffers_find_spare(&connection->rings.shared.set, emptied);

    if (spare != NULL)
        (void)memory_remove_arena(connection,
                                  spare->size_bytes < emptied->size_bytes ? spare : emptied);
}

/* Refused for want of room, it asks for just what is needed. What is kept unused counts towards the
 * quota, so that is given back before. */
static int shared_ask(struct blkd *connection, size_t size_bytes)
{
    size_t arena_bytes = buffers_arena_bytes(&connection->rings.shared.set, size_bytes);
    int r = memory_add_arena(connection, arena_bytes);
    struct arena *spare;

    if (r != -EDQUOT && r != -ENOMEM && r != -ENOSPC)
        return r;
    spare = buffers_find_spare(&connection->rings.shared.set, NULL);
    if (spare == NULL && (r == -ENOSPC || arena_bytes == size_bytes))
        return r;
    if (spare != NULL && memory_remove_arena(connection, spare) < 0)
        return r;
    return memory_add_arena(connection, size_bytes);
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

    while (!connection_lost(connection)) {
        base = arena_alloc(&connection->rings.shared.set, size_bytes);
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
        return buffers_alloc_private(&connection->buffers, size_bytes, ret_base);
    *ret_stale_bytes = arena_stale_bytes(&connection->rings.shared.set, base, size_bytes);
    *ret_base = base;
    return 0;
}

static int buffer_check(const struct blkd *connection, size_t size_bytes, void *const *ret_buffer)
{
    if (connection == NULL || ret_buffer == NULL)
        return error_report(-EINVAL, "cannot allocate a buffer: %s is NULL",
                            connection == NULL ? "connection" : "ret_buffer");
    if (size_bytes == 0)
        return error_report(-EINVAL, "cannot allocate a buffer of 0 bytes");
    /* Of the checks for a call only that for a child applies: callbacks may allocate. */
    return forkguard_tripped(&connection->forkguard) ? verb_check(connection, CALL_WAITS) : 0;
}

static int buffer_report_memory(int error, size_t size_bytes)
{
    return error_report(error,
                        "cannot allocate a buffer of %zu bytes: not enough memory (free some, "
                        "or raise the limits on the memory and mappings of this process)",
                        size_bytes);
}

int blkd_buffer_alloc(struct blkd *connection, size_t size_bytes, void **ret_buffer)
{
    struct trace trace = {NULL, 0};
    size_t rounded_bytes;
    size_t stale_bytes;
    void *base;
    int r = buffer_check(connection, size_bytes, ret_buffer);

    if (r < 0)
        return r;
    if (size_bytes > PTRDIFF_MAX - ARENA_PAGE_BYTES)
        return buffer_report_memory(-ENOMEM, size_bytes);
    if (trace_enabled())
        trace_begin(&trace, "allocating a buffer of %zu bytes", size_bytes);
    rounded_bytes = (size_bytes + ARENA_PAGE_BYTES - 1) & ~((size_t)ARENA_PAGE_BYTES - 1);
    pthread_mutex_lock(&connection->mutex);
    r = buffer_alloc(connection, rounded_bytes, &base, &stale_bytes);
    pthread_mutex_unlock(&connection->mutex);
    trace_end(&trace, r);
    if (r < 0)
        return buffer_report_memory(r, size_bytes);
    if (stale_bytes > 0)
        memset(base, 0, stale_bytes);
    *ret_buffer = base;
    return 0;
}

/* True: it was shared memory of the connection, and is free. Else *ret_private is the connection's
 * ordinary memory, to be freed, or untouched. */
static bool buffer_free_here(struct blkd *connection, void *buffer,
                             struct private_buffer **ret_private)
{
    struct arena *arena;

    pthread_mutex_lock(&connection->mutex);
    arena = arena_free(&connection->rings.shared.set, buffer);
    if (arena == NULL)
        *ret_private = buffers_take_private(&connection->buffers, buffer);
    else if (arena->used_pages == 0)
        shared_keep_one_spare(connection, arena);
    pthread_mutex_unlock(&connection->mutex);
    return arena != NULL;
}

void blkd_buffer_free(struct blkd *connection, void *buffer)
{
    struct private_buffer *private_buffer = NULL;

    if (buffer == NULL ||
        (connection != NULL && (forkguard_tripped(&connection->forkguard) ||
                                buffer_free_here(connection, buffer, &private_buffer))))
        return;
    if (private_buffer == NULL)
        private_buffer = buffers_take_survivor(buffer);
    if (private_buffer != NULL)
        private_buffer_free(private_buffer);
}
