/* SPDX-License-Identifier: MIT */
/* See buffers.h. */
#include "client/lib/ring/buffers.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/lib/ring/map.h"
#include "client/lib/ring/survivors.h"
#include "common/cleanup.h"

enum {
    BUFFER_ARENA_MIN = 2 * 1024 * 1024,
    BUFFER_ARENA_MAX = 64 * 1024 * 1024, /* but for a buffer that is larger */
};

/* ---- ordinary memory ---- */

void private_buffer_free(struct private_buffer *buffer)
{
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

/* Ordinary memory that is there already. 0 or -ENOMEM. */
static int private_add(struct buffers *buffers, void *base, size_t size_bytes)
{
    struct private_buffer *buffer = malloc(sizeof(*buffer));

    if (buffer == NULL)
        return -ENOMEM;
    *buffer = (struct private_buffer){base, size_bytes};
    if (tsearch(buffer, &buffers->privates, private_buffer_compare) == NULL) {
        free(buffer);
        return -ENOMEM;
    }
    return 0;
}

int buffers_alloc_private(struct buffers *buffers, size_t size_bytes, void **ret_base)
{
    void *base = NULL;
    int r = private_map(size_bytes, &base);

    if (r < 0)
        return r;
    r = private_add(buffers, base, size_bytes);
    if (r < 0) {
        (void)munmap(base, size_bytes);
        return r;
    }
    *ret_base = base;
    return 0;
}

struct private_buffer *buffers_take_private(struct buffers *buffers, void *base)
{
    return private_buffer_take(&buffers->privates, base);
}

struct private_buffer *buffers_take_survivor(void *base)
{
    return survivors_take(base);
}

void buffers_init(struct buffers *buffers)
{
    buffers->privates = NULL;
    buffers->growing = false;
    (void)pthread_cond_init(&buffers->grown, NULL);
}

void buffers_deinit(struct buffers *buffers)
{
    survivors_adopt(&buffers->privates);
    (void)pthread_cond_destroy(&buffers->grown);
}

/* ---- shared memory ---- */

/* One run of pages. What could not be noted stays where it is, and is never freed. */
static int run_move(struct buffers *buffers, const struct arena *arena, uint32_t page,
                    uint32_t pages, bool used)
{
    void *base = arena->base + (size_t)page * ARENA_PAGE_BYTES;
    size_t size_bytes = (size_t)pages * ARENA_PAGE_BYTES;

    if (!used) {
        map_remove(base, size_bytes);
        return 0;
    }
    (void)private_add(buffers, base, size_bytes);
    return map_take_pages(base, size_bytes);
}

static int arena_move(struct buffers *buffers, const struct arena *arena)
{
    int result = map_make_private(arena->fd, arena->base, arena->size_bytes);
    bool used;
    uint32_t pages;

    for (uint32_t page = 0; (pages = arena_run(arena, page, &used)) > 0; page += pages) {
        int r = run_move(buffers, arena, page, pages, used);

        if (result == 0)
            result = r;
    }
    return result;
}

int buffers_move(struct buffers *buffers, struct arena_set *set)
{
    int result = 0;

    for (uint32_t i = 0; i < ARENAS_PER_CONNECTION; i++) {
        struct arena *arena = &set->arenas[i];
        bool used = arena->used_pages > 0;
        int r;

        if (arena->base == NULL)
            continue;
        r = used ? arena_move(buffers, arena) : 0;
        if (!used)
            map_remove(arena->base, arena->size_bytes);
        if (result == 0)
            result = r;
        if (arena->fd >= 0)
            (void)close(TAKE_FD(arena->fd));
        arena_abandon(set, arena);
    }
    return result;
}

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
