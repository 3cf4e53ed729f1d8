/* SPDX-License-Identifier: MIT */
/* Anonymous pages; see memory.h. */
#include "tests/bench/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { FILLING = 0xb1 };

void memory_touch(void *memory, size_t size_bytes)
{
    memset(memory, FILLING, size_bytes);
}

int memory_map(size_t size_bytes, void **ret_memory)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    memory_touch(memory, size_bytes);
    *ret_memory = memory;
    return 0;
}

void memory_unmap(void *memory, size_t size_bytes)
{
    (void)munmap(memory, size_bytes);
}
