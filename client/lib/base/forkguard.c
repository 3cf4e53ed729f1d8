/* SPDX-License-Identifier: MIT */
/* See forkguard.h. */
#include "client/lib/base/forkguard.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

int forkguard_init(struct forkguard *guard)
{
    void *page =
        mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return -errno;
    if (madvise(page, page_size(), MADV_WIPEONFORK) < 0) {
        int error = -errno;
        (void)munmap(page, page_size());
        return error;
    }
    guard->page = page;
    __atomic_store_n(guard->page, 1, __ATOMIC_RELAXED);
    return 0;
}

void forkguard_deinit(struct forkguard *guard)
{
    if (guard->page != NULL)
        (void)munmap(guard->page, page_size());
    guard->page = NULL;
}
