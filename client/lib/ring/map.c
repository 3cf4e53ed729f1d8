/* SPDX-License-Identifier: MIT */
/* See map.h. */
#include "client/lib/ring/map.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/cleanup.h"

int map_shared(int fd, size_t size_bytes, void **ret_memory)
{
    CLEANUP_CLOSE int memfd = fd;
    struct stat status;
    void *memory;

    if (memfd < 0)
        return -EPROTO;
    if (fstat(memfd, &status) < 0)
        return -errno;
    if (status.st_size < 0 || (uint64_t)status.st_size < size_bytes)
        return -EPROTO;
    memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
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

void map_remove(void *memory, size_t size_bytes)
{
    (void)munmap(memory, size_bytes);
}
