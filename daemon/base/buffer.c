/* SPDX-License-Identifier: MIT */
/* See buffer.h. `spare_bytes` is the sum of all spare buffers' sizes, and never more than
 * BUFFER_POOL_KEEP_BYTES. */
#include "daemon/base/buffer.h"

#include <assert.h>
#include <stdlib.h>

#include "common/limits.h"

enum { BUFFER_ALIGN = 4096 };

static const size_t buffer_class_bytes[BUFFER_CLASSES] = {
    4096, 16384, 65536, 262144, IO_BYTES_MAX,
};

void buffer_pool_init(struct buffer_pool *pool)
{
    for (unsigned int i = 0; i < BUFFER_CLASSES; i++)
        SLIST_INIT(&pool->spare[i]);
    pool->spare_bytes = 0;
}

static void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    free(buffer);
}

void buffer_pool_deinit(struct buffer_pool *pool)
{
    for (unsigned int i = 0; i < BUFFER_CLASSES; i++) {
        while (!SLIST_EMPTY(&pool->spare[i])) {
            struct buffer *buffer = SLIST_FIRST(&pool->spare[i]);
            SLIST_REMOVE_HEAD(&pool->spare[i], link);
            buffer_free(buffer);
        }
    }
}

static struct buffer *buffer_new(unsigned int size_class)
{
    struct buffer *buffer = malloc(sizeof(*buffer));
    if (buffer == NULL)
        return NULL;
    buffer->size_class = size_class;
    buffer->size_bytes = buffer_class_bytes[size_class];
    buffer->data = aligned_alloc(BUFFER_ALIGN, buffer->size_bytes);
    if (buffer->data == NULL) {
        free(buffer);
        return NULL;
    }
    return buffer;
}

struct buffer *buffer_get(struct buffer_pool *pool, size_t size_bytes)
{
    unsigned int size_class = 0;
    assert(size_bytes <= IO_BYTES_MAX);
    while (buffer_class_bytes[size_class] < size_bytes)
        size_class++;
    struct buffer *buffer = SLIST_FIRST(&pool->spare[size_class]);
    if (buffer == NULL)
        return buffer_new(size_class);
    SLIST_REMOVE_HEAD(&pool->spare[size_class], link);
    pool->spare_bytes -= buffer->size_bytes;
    return buffer;
}

struct buffer *buffer_put(struct buffer_pool *pool, struct buffer *buffer)
{
    if (buffer == NULL)
        return NULL;
    if (pool->spare_bytes + buffer->size_bytes > BUFFER_POOL_KEEP_BYTES) {
        buffer_free(buffer);
        return NULL;
    }
    SLIST_INSERT_HEAD(&pool->spare[buffer->size_class], buffer, link);
    pool->spare_bytes += buffer->size_bytes;
    return NULL;
}
