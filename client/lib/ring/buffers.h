/* SPDX-License-Identifier: MIT */
/*
 * Memory for buffers that programs ask for: pages of a set of arenas where the daemon gives any,
 * else ordinary memory of the process, kept in `privates`. Pure but for the process's memory: who
 * needs an arena asks the daemon for it.
 *
 * Arenas are made as they are needed, each as large as all before it together, and given back when
 * nothing in them is in use; one of those is kept, the largest.
 */
#ifndef BLKD_CLIENT_LIB_RING_BUFFERS_H
#define BLKD_CLIENT_LIB_RING_BUFFERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/lib/ring/arena.h"

/* Under the connection's mutex. */
struct buffers {
    void *privates;       /* a tree of tsearch(3), by address */
    bool growing;         /* a thread asks the daemon for an arena; others wait for it */
    pthread_cond_t grown; /* it has an answer */
};

struct private_buffer;

void buffers_init(struct buffers *buffers);
/* Unmaps ordinary memory that was not given back. The arenas are not this module's. */
void buffers_deinit(struct buffers *buffers);

/* Ordinary memory, zeroed. 0 or -ENOMEM, or mmap's or madvise's error. */
int buffers_alloc_private(struct buffers *buffers, size_t size_bytes, void **ret_base);
/* Takes it out again, to be freed (the mutex is not needed for that). NULL: there is none at that
 * address. */
struct private_buffer *buffers_take_private(struct buffers *buffers, void *base);
void private_buffer_free(struct private_buffer *buffer);

/* Of the arenas with nothing in use, except `other` (may be NULL), the largest; NULL: there is
 * none. */
struct arena *buffers_find_spare(struct arena_set *set, const struct arena *other);

/* How large an arena is made when size_bytes are needed that no arena has. */
size_t buffers_arena_bytes(const struct arena_set *set, size_t size_bytes);

#endif
