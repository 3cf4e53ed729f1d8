/* SPDX-License-Identifier: MIT */
/*
 * Where memory that is shared with the daemon is in use: the arenas of a connection, each a mapping
 * with a number that the daemon gave it, cut into whole pages. Knows neither the daemon nor how the
 * mappings came about. Pure but for malloc; under the connection's mutex.
 */
#ifndef BLKD_CLIENT_LIB_RING_ARENA_H
#define BLKD_CLIENT_LIB_RING_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/limits.h"

enum { ARENA_PAGE_BYTES = 4096 };

struct arena {
    uint32_t number; /* the daemon's */
    uint8_t *base;   /* NULL: this place of the set is free */
    size_t size_bytes;
    int fd; /* of its memory, its owner's; -1: none is kept */
    uint32_t pages;
    uint32_t used_pages;
    uint32_t hint;         /* no page before it is free */
    uint32_t scarce_pages; /* so many in a row, or more, are not free; UINT32_MAX: not known */
    uint32_t stale_pages;  /* of the first so many some were in use before; the others are as the
                              daemon made them: zero */
    uint64_t *used;        /* a bit for each page */
    /* For each first page of an allocation, how many pages it has; 0 elsewhere. */
    uint32_t *lengths;
};

struct arena_set {
    struct arena arenas[ARENAS_PER_CONNECTION];
    uint32_t count; /* places that were ever used */
    uint32_t last;  /* where the last lookup ended: the next one is likely to be there */
};

/* A place in shared memory, as the daemon is told of it. */
struct arena_place {
    uint32_t number;
    uint64_t offset_bytes;
};

void arena_set_init(struct arena_set *set);
/* Forgets all arenas; `unmap` (may be NULL) is called for each. */
void arena_set_deinit(struct arena_set *set, void (*unmap)(void *base, size_t size_bytes));

/* A mapping of whole pages becomes part of the set. 0, -ENOMEM, or -ENOSPC: there are
 * ARENAS_PER_CONNECTION already. */
int arena_add(struct arena_set *set, uint32_t number, void *base, size_t size_bytes);
/* The arena of that mapping, which is in the set. */
struct arena *arena_find_at(struct arena_set *set, const void *base);

/* Takes an arena of which nothing is in use out of the set; the mapping is the caller's. */
void arena_remove(struct arena_set *set, struct arena *arena);
/* The same, whatever is in use. */
void arena_abandon(struct arena_set *set, struct arena *arena);

/* The arena from `page` on: *ret_used tells whether the pages there are in use (by one allocation)
 * or free. Returns how many pages that goes for; 0: the arena ends at `page`. */
uint32_t arena_run(const struct arena *arena, uint32_t page, bool *ret_used);

/* Pages for size_bytes (at least 1), next to each other, in any arena. NULL: no arena has so many
 * free. Contents are what was left there. */
void *arena_alloc(struct arena_set *set, size_t size_bytes);

/* Gives pages back that arena_alloc gave; returns their arena. NULL: it gave no such pointer, or
 * that was given back already; nothing was done. */
struct arena *arena_free(struct arena_set *set, void *pointer);

/* Of memory that arena_alloc has just given, how many bytes at its beginning may be other than
 * zero. */
size_t arena_stale_bytes(struct arena_set *set, const void *pointer, size_t size_bytes);

/* How many bytes from `pointer` on, at most length_bytes, lie in one arena, and where that is; 0:
 * it is no shared memory (and *ret_place is untouched), of which then as many bytes are not as
 * *ret_foreign_bytes says (at most length_bytes; 0 where there is shared memory). */
size_t arena_find(struct arena_set *set, const void *pointer, size_t length_bytes,
                  struct arena_place *ret_place, size_t *ret_foreign_bytes);

#endif
