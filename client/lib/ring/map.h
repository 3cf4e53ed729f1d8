/* SPDX-License-Identifier: MIT */
/*
 * Mappings of memory that the daemon shares. It makes the memory and seals it, so that it cannot
 * shrink under a mapping.
 */
#ifndef BLKD_CLIENT_LIB_RING_MAP_H
#define BLKD_CLIENT_LIB_RING_MAP_H

#include <stddef.h>

/* Maps shared memory that the daemon has sent and closes its descriptor, whether it succeeds or
 * not. A child of fork does not get the mapping. 0, -EPROTO (it is smaller than size_bytes, or
 * fd is -1) or a negative errno. */
int map_shared(int fd, size_t size_bytes, void **ret_memory);
void map_remove(void *memory, size_t size_bytes);

#endif
