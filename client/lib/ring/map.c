/* SPDX-License-Identifier: MIT */
/* See map.h. */
#include "client/lib/ring/map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { MAP_PAGE_BYTES = 4096 };

int map_shared(int fd, size_t size_bytes, void **ret_memory)
{
    struct stat status;
    void *memory;

    if (fd < 0)
        return -EPROTO;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size < 0 || (uint64_t)status.st_size < size_bytes)
        return -EPROTO;
    memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    if (madvise(memory, size_bytes, MADV_DONTFORK) < 0) {
        int error = -errno;
        map_remove(memory, size_bytes);
        return error;
    }
    *ret_memory = memory;
    return 0;
}

/* With MAP_FIXED the kernel may take away what is there and then fail (mmap(2)): the shared mapping
 * takes no memory of the process, so that it can be put back. */
int map_make_private(int fd, void *memory, size_t size_bytes)
{
    int error = 0;

    if (fd < 0)
        return -EBADF;
    if (mmap(memory, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) ==
        MAP_FAILED) {
        error = -errno;
        (void)mmap(memory, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    }
    (void)madvise(memory, size_bytes, MADV_DONTFORK);
    return error;
}

/* A store that changes nothing, whatever others store at the same time. An atomic "or" with 0 would
 * do, but compilers know that and may only load. */
static void page_touch(uint8_t *page)
{
    uint8_t value = __atomic_load_n(page, __ATOMIC_RELAXED);

    while (!__atomic_compare_exchange_n(page, &value, value, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        continue;
}

int map_take_pages(void *memory, size_t size_bytes)
{
    uint8_t *bytes = memory;

    if (madvise(memory, size_bytes, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    for (size_t i = 0; i < size_bytes; i += MAP_PAGE_BYTES)
        page_touch(bytes + i);
    return 0;
}

void map_remove(void *memory, size_t size_bytes)
{
    (void)munmap(memory, size_bytes);
}
