/* SPDX-License-Identifier: MIT */
/*
 * The memory that one ring keeps pinned (engine_register): its table of registered buffers, so that
 * a direct transfer need not find and pin its pages each time.
 *
 * The table is made with the first memory, so that a ring without arenas has none. Memory that it
 * does not take (the memlock limit, a kernel before 5.19, a full table, more than 1 GiB) is used
 * unregistered. What leaves the table is unpinned at once on kernels from 6.13; before, when the
 * transfers are over that were in flight in any registered memory of the ring.
 */
#ifndef BLKD_DAEMON_ENGINE_URING_MEMORY_H
#define BLKD_DAEMON_ENGINE_URING_MEMORY_H

#include <liburing.h>
#include <stdint.h>

#include "daemon/engine/engine.h"

/* A slot takes 16 bytes of kernel memory at most. */
enum { URING_MEMORY_MAX = 4096 };

struct uring_memory {
    unsigned int size; /* slots; 0: there is no table */
    bool refused;      /* the kernel does not have such tables */
    uint64_t taken[URING_MEMORY_MAX / 64];
};

/* On the ring's own thread, with the ring enabled. _put sets registered and slot, or leaves them;
 * _drop is for what is registered, and no transfer in it may be in flight. */
void uring_memory_put(struct uring_memory *table, struct io_uring *ring,
                      struct engine_memory *memory);
void uring_memory_drop(struct uring_memory *table, struct io_uring *ring,
                       struct engine_memory *memory);

#endif
