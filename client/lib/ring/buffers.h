/* SPDX-License-Identifier: MIT */
/*
 * Memory for buffers that programs ask for: pages of a set of arenas where the daemon gives any,
 * else ordinary memory of the process, kept in `privates`. Pure but for the process's memory: who
 * needs an arena asks the daemon for it.
 *
 * What is allocated outlives the connection: it is then moved to ordinary memory, at the same
 * addresses (buffers_move), and after the connection's end found without it (survivors.h).
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
#include "client/lib/ring/private.h"

/* Under the connection's mutex. */
struct buffers {
    void *privates;       /* a tree of tsearch(3), by address */
    bool growing;         /* a thread asks the daemon for an arena; others wait for it */
    pthread_cond_t grown; /* it has an answer */
};

void buffers_init(struct buffers *buffers);
/* Ordinary memory that was not given back becomes that of survivors.h. The arenas are not this
 * module's. */
void buffers_deinit(struct buffers *buffers);

/* Ordinary memory, zeroed. 0 or -ENOMEM, or mmap's or madvise's error. */
int buffers_alloc_private(struct buffers *buffers, size_t size_bytes, void **ret_base);
/* Takes it out again, to be freed (the mutex is not needed for that). NULL: there is none at that
 * address. */
struct private_buffer *buffers_take_private(struct buffers *buffers, void *base);
/* The same of a buffer whose connection is disconnected. No mutex. */
struct private_buffer *buffers_take_survivor(void *base);
/* Unmaps and forgets what one of the two gave. No mutex. */
void private_buffer_free(struct private_buffer *buffer);

/* The connection is lost: what is allocated of the arenas becomes ordinary memory, with its
 * contents and at its addresses, and the rest is unmapped; the set is empty then. 0, or the first
 * negative errno with which some of it could not be moved: it loses its contents when the daemon
 * takes its pages back. */
int buffers_move(struct buffers *buffers, struct arena_set *set);

/* Of the arenas with nothing in use, except `other` (may be NULL), the largest; NULL: there is
 * none. */
struct arena *buffers_find_spare(struct arena_set *set, const struct arena *other);

/* How large an arena is made when size_bytes are needed that no arena has. */
size_t buffers_arena_bytes(const struct arena_set *set, size_t size_bytes);

#endif
