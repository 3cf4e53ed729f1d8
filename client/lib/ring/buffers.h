/* SPDX-License-Identifier: MIT */
/*
 * Buffers that programs ask for (blkd_buffer_alloc): pages of the connection's arenas where the
 * daemon gives any, else ordinary memory of the process, kept in `privates`.
 *
 * Arenas are made as they are needed, each as large as all before it together, and given back when
 * nothing in them is in use; one of those is kept, the largest.
 */
#ifndef BLKD_CLIENT_LIB_RING_BUFFERS_H
#define BLKD_CLIENT_LIB_RING_BUFFERS_H

#include <pthread.h>
#include <stdbool.h>

/* A connection's. Under its mutex. */
struct buffers {
    void *privates;       /* a tree of tsearch(3), by address */
    bool growing;         /* a thread asks the daemon for an arena; others wait for it */
    pthread_cond_t grown; /* it has an answer */
};

void buffers_init(struct buffers *buffers);
/* Unmaps ordinary memory that was not given back. The arenas are not this module's. */
void buffers_deinit(struct buffers *buffers);

#endif
