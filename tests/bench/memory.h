/* SPDX-License-Identifier: MIT */
/* The buffers of a client's operations, where its target does not bring its own. */
#ifndef BLKD_BENCH_MEMORY_H
#define BLKD_BENCH_MEMORY_H

#include <stddef.h>

/* Whole pages, all of them touched: no operation pays for the first access. 0 or a negative errno.
 */
int memory_map(size_t size_bytes, void **ret_memory);
void memory_unmap(void *memory, size_t size_bytes);

/* Writes to every byte, so that no page is the kernel's one page of zeroes. */
void memory_touch(void *memory, size_t size_bytes);

#endif
