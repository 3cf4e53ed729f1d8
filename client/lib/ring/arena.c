/* SPDX-License-Identifier: MIT */
/* See arena.h. */
#include "client/lib/ring/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64 };

/* ---- bits ---- */

/* The first bit in [from, end) that is 1 in `words` ^ `flip`; `end` if there is none. */
static uint32_t bits_find(const uint64_t *words, uint64_t flip, uint32_t from, uint32_t end)
{
    uint64_t word;
    uint32_t i;

    if (from >= end)
        return end;
    i = from / WORD_BITS;
    word = (words[i] ^ flip) & (UINT64_MAX << from % WORD_BITS);
    while (word == 0) {
        if ((uint64_t)++i * WORD_BITS >= end)
            return end;
        word = words[i] ^ flip;
    }
    from = i * WORD_BITS + (uint32_t)__builtin_ctzll(word);
    return from < end ? from : end;
}

static uint32_t bits_find_clear(const uint64_t *words, uint32_t from, uint32_t end)
{
    return bits_find(words, UINT64_MAX, from, end);
}

static uint32_t bits_find_set(const uint64_t *words, uint32_t from, uint32_t end)
{
    return bits_find(words, 0, from, end);
}

/* Turns over `count` bits, which were all alike. */
static void bits_flip(uint64_t *words, uint32_t first, uint32_t count)
{
    while (count > 0) {
        uint32_t shift = first % WORD_BITS;
        uint32_t here = WORD_BITS - shift < count ? WORD_BITS - shift : count;
        uint64_t mask = here == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << here) - 1;

        words[first / WORD_BITS] ^= mask << shift;
        first += here;
        count -= here;
    }
}

/* ---- the set ---- */

void arena_set_init(struct arena_set *set)
{
    memset(set, 0, sizeof(*set));
}

static void arena_clear(struct arena *arena)
{
    free(arena->used);
    free(arena->lengths);
    memset(arena, 0, sizeof(*arena));
}

void arena_set_deinit(struct arena_set *set, void (*unmap)(void *base, size_t size_bytes))
{
    for (uint32_t i = 0; i < set->count; i++) {
        struct arena *arena = &set->arenas[i];

        if (arena->base != NULL && unmap != NULL)
            unmap(arena->base, arena->size_bytes);
        arena_clear(arena);
    }
    arena_set_init(set);
}

static struct arena *set_find_place(struct arena_set *set)
{
    for (uint32_t i = 0; i < ARENAS_PER_CONNECTION; i++)
        if (set->arenas[i].base == NULL)
            return &set->arenas[i];
    return NULL;
}

int arena_add(struct arena_set *set, uint32_t number, void *base, size_t size_bytes)
{
    struct arena *arena = set_find_place(set);
    size_t pages = size_bytes / ARENA_PAGE_BYTES;
    struct arena made = {.number = number, .base = base, .size_bytes = size_bytes, .fd = -1};

    assert(base != NULL && (uintptr_t)base % ARENA_PAGE_BYTES == 0);
    assert(pages >= 1 && pages < UINT32_MAX && size_bytes % ARENA_PAGE_BYTES == 0);
    if (arena == NULL)
        return -ENOSPC;
    made.pages = (uint32_t)pages;
    made.scarce_pages = UINT32_MAX;
    made.used = calloc(pages / WORD_BITS + 1, sizeof(*made.used));
    made.lengths = calloc(pages, sizeof(*made.lengths));
    if (made.used == NULL || made.lengths == NULL) {
        arena_clear(&made);
        return -ENOMEM;
    }
    *arena = made;
    if (arena == &set->arenas[set->count])
        set->count++;
    return 0;
}

struct arena *arena_find_at(struct arena_set *set, const void *base)
{
    struct arena *arena = set->arenas;

    while (arena->base != base)
        arena++;
    return arena;
}

void arena_abandon(struct arena_set *set, struct arena *arena)
{
    assert(arena->base != NULL);
    arena_clear(arena);
    while (set->count > 0 && set->arenas[set->count - 1].base == NULL)
        set->count--;
}

void arena_remove(struct arena_set *set, struct arena *arena)
{
    assert(arena->used_pages == 0);
    arena_abandon(set, arena);
}

/* ---- pages ---- */

/* The first of `pages` free pages in a row; the arena's end if there are none. */
static uint32_t arena_search(struct arena *arena, uint32_t pages)
{
    uint32_t first = bits_find_clear(arena->used, arena->hint, arena->pages);

    arena->hint = first;
    while (pages <= arena->pages - first) {
        uint32_t end = bits_find_set(arena->used, first, first + pages);

        if (end == first + pages)
            return first;
        first = bits_find_clear(arena->used, end, arena->pages);
    }
    return arena->pages;
}

static void *arena_take(struct arena *arena, uint32_t pages)
{
    uint32_t first;

    if (pages > arena->pages - arena->used_pages || pages >= arena->scarce_pages)
        return NULL;
    first = arena_search(arena, pages);
    if (first == arena->pages) {
        arena->scarce_pages = pages;
        return NULL;
    }
    bits_flip(arena->used, first, pages);
    arena->lengths[first] = pages;
    arena->used_pages += pages;
    if (first == arena->hint)
        arena->hint = first + pages;
    return arena->base + (size_t)first * ARENA_PAGE_BYTES;
}

void *arena_alloc(struct arena_set *set, size_t size_bytes)
{
    size_t pages = size_bytes / ARENA_PAGE_BYTES + (size_bytes % ARENA_PAGE_BYTES != 0);

    assert(size_bytes > 0);
    if (pages >= UINT32_MAX)
        return NULL;
    for (uint32_t i = 0; i < set->count; i++) {
        void *pointer = arena_take(&set->arenas[i], (uint32_t)pages);

        if (pointer != NULL)
            return pointer;
    }
    return NULL;
}

/* The arena that holds an address, and where in it. The last one is tried first. */
static inline struct arena *set_find(struct arena_set *set, const void *pointer,
                                     size_t *ret_offset_bytes)
{
    struct arena *arena = &set->arenas[set->last];
    size_t offset_bytes = (uintptr_t)pointer - (uintptr_t)arena->base;

    /* A free place has no bytes; below the base the difference wraps around to a huge one. */
    if (offset_bytes < arena->size_bytes) {
        *ret_offset_bytes = offset_bytes;
        return arena;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        arena = &set->arenas[i];
        offset_bytes = (uintptr_t)pointer - (uintptr_t)arena->base;
        if (offset_bytes < arena->size_bytes) {
            set->last = i;
            *ret_offset_bytes = offset_bytes;
            return arena;
        }
    }
    return NULL;
}

struct arena *arena_free(struct arena_set *set, void *pointer)
{
    size_t offset_bytes;
    struct arena *arena = set_find(set, pointer, &offset_bytes);
    uint32_t first;
    uint32_t pages;

    if (arena == NULL || offset_bytes % ARENA_PAGE_BYTES != 0)
        return NULL;
    first = (uint32_t)(offset_bytes / ARENA_PAGE_BYTES);
    pages = arena->lengths[first];
    if (pages == 0)
        return NULL;
    bits_flip(arena->used, first, pages);
    arena->lengths[first] = 0;
    arena->used_pages -= pages;
    arena->scarce_pages = UINT32_MAX;
    if (first < arena->hint)
        arena->hint = first;
    if (first + pages > arena->stale_pages)
        arena->stale_pages = first + pages;
    return arena;
}

size_t arena_stale_bytes(struct arena_set *set, const void *pointer, size_t size_bytes)
{
    size_t offset_bytes;
    const struct arena *arena = set_find(set, pointer, &offset_bytes);
    size_t end_bytes;

    assert(arena != NULL);
    end_bytes = (size_t)arena->stale_pages * ARENA_PAGE_BYTES;
    if (end_bytes <= offset_bytes)
        return 0;
    return end_bytes - offset_bytes < size_bytes ? end_bytes - offset_bytes : size_bytes;
}

uint32_t arena_run(const struct arena *arena, uint32_t page, bool *ret_used)
{
    if (page >= arena->pages)
        return 0;
    *ret_used = arena->lengths[page] != 0;
    if (*ret_used)
        return arena->lengths[page];
    return bits_find_set(arena->used, page, arena->pages) - page;
}

/* ---- looking addresses up ---- */

/* How far memory that begins outside all arenas stays outside. */
static size_t set_find_begin(const struct arena_set *set, const void *pointer, size_t length_bytes)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct arena *arena = &set->arenas[i];
        uintptr_t base = (uintptr_t)arena->base; /* of a free place below every address */

        if (base > (uintptr_t)pointer && base - (uintptr_t)pointer < length_bytes)
            length_bytes = base - (uintptr_t)pointer;
    }
    return length_bytes;
}

size_t arena_find(struct arena_set *set, const void *pointer, size_t length_bytes,
                  struct arena_place *ret_place, size_t *ret_foreign_bytes)
{
    size_t offset_bytes;
    const struct arena *arena = set_find(set, pointer, &offset_bytes);

    if (arena == NULL || length_bytes == 0) {
        *ret_foreign_bytes = set_find_begin(set, pointer, length_bytes);
        return 0;
    }
    *ret_foreign_bytes = 0;
    ret_place->number = arena->number;
    ret_place->offset_bytes = offset_bytes;
    return length_bytes < arena->size_bytes - offset_bytes ? length_bytes
                                                           : arena->size_bytes - offset_bytes;
}
