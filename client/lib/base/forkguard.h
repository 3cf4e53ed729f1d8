/* SPDX-License-Identifier: MIT */
/*
 * Knows without a system call whether the process forked since: a page that the kernel hands to a
 * child zeroed (MADV_WIPEONFORK, madvise(2)). A child must not use its parent's connection: both
 * would read parts of one stream.
 */
#ifndef BLKD_CLIENT_LIB_BASE_FORKGUARD_H
#define BLKD_CLIENT_LIB_BASE_FORKGUARD_H

#include <stdbool.h>
#include <stdint.h>

struct forkguard {
    uint32_t *page; /* 1 in the process that made it, 0 in its children */
};

/* 0 or a negative errno. */
int forkguard_init(struct forkguard *guard);
void forkguard_deinit(struct forkguard *guard);

static inline bool forkguard_tripped(const struct forkguard *guard)
{
    return __atomic_load_n(guard->page, __ATOMIC_RELAXED) == 0;
}

#endif
