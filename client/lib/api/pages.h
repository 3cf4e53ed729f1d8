/* SPDX-License-Identifier: MIT */
/*
 * Lists come from the daemon in pages; a list grows by one with each: its entries move, the strings
 * that they point to stay where they are, a page's in one allocation.
 */
#ifndef BLKD_CLIENT_LIB_API_PAGES_H
#define BLKD_CLIENT_LIB_API_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/lib/call/call.h"

/* One page's strings. */
struct pages_text {
    struct pages_text *next;
    char bytes[];
};

/* What a list has behind what the user sees. */
struct pages {
    struct pages_text *texts;
    uint64_t after; /* the last number so far: the next page begins behind it */
    bool more;
};

/* Room for a page's strings, freed with the pages. NULL: no memory. */
char *pages_add_text(struct pages *pages, size_t bytes);
void pages_free_texts(struct pages *pages);

/* The entries of `entry_bytes` each have moved: `old` (or NULL), with room for so many pointers,
 * points to all of them again. NULL: no memory, and nothing has changed. */
void *pages_point(void *old, const void *entries, size_t entry_bytes, size_t count);

/* Waits for one page; its reply extends `block`, the call's `ret`. */
int pages_get(struct blkd *connection, const struct operation *operation, uint64_t device_number,
              void *block);

/* 0, or -EINVAL with the thread's message if one of the two is NULL. */
int pages_check(const struct blkd *connection, const void *ret_list);

#endif
