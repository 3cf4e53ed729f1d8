/* SPDX-License-Identifier: MIT */
/*
 * Payload buffers of one worker: page-aligned, so that direct I/O can use them, kept in size
 * classes for reuse while they are warm in the cache. Not for use by several threads.
 */
#ifndef BLKD_DAEMON_BASE_BUFFER_H
#define BLKD_DAEMON_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct buffer {
    SLIST_ENTRY(buffer) link;
    uint8_t *data;
    size_t size_bytes; /* of its class: at least what was asked for */
    unsigned int size_class;
};

SLIST_HEAD(buffer_list, buffer);

enum { BUFFER_CLASSES = 5, BUFFER_POOL_KEEP_BYTES = 8 * 1024 * 1024 };

struct buffer_pool {
    struct buffer_list spare[BUFFER_CLASSES];
    size_t spare_bytes; /* at most BUFFER_POOL_KEEP_BYTES; more goes back to the system */
};

void buffer_pool_init(struct buffer_pool *pool);
void buffer_pool_deinit(struct buffer_pool *pool);

/* A buffer for `size_bytes`, 1 to IO_BYTES_MAX; its contents are not cleared. NULL: no memory. */
struct buffer *buffer_get(struct buffer_pool *pool, size_t size_bytes);

/* Takes NULL; returns NULL. */
struct buffer *buffer_put(struct buffer_pool *pool, struct buffer *buffer);

#endif
