/* SPDX-License-Identifier: MIT */
/*
 * Mappings of memory that the daemon shares. It makes the memory and seals it, so that it cannot
 * shrink under a mapping.
 */
#ifndef BLKD_CLIENT_LIB_RING_MAP_H
#define BLKD_CLIENT_LIB_RING_MAP_H

#include <stddef.h>

/* Maps shared memory that the daemon has sent; the descriptor stays the caller's. A child of fork
 * does not get the mapping. 0, -EPROTO (it is smaller than size_bytes, or fd is -1) or a negative
 * errno. */
int map_shared(int fd, size_t size_bytes, void **ret_memory);

/* Puts a private mapping of the same memory in the place of such a mapping, at once as other
 * threads see it: all that is there stays there, and what they store from now on is theirs alone.
 * 0, or a negative errno: it is still shared. */
int map_make_private(int fd, void *memory, size_t size_bytes);
/* Copies what is still the daemon's in a part of that, page by page, while other threads may go on
 * storing there. After it nothing that becomes of the memory's other mappings is seen there. 0, or
 * a negative errno: out of memory. */
int map_take_pages(void *memory, size_t size_bytes);
void map_remove(void *memory, size_t size_bytes);

#endif
