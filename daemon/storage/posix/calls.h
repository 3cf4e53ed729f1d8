/* SPDX-License-Identifier: MIT */
/*
 * The calls on a device's descriptors that can hang, or whose result must not die with the daemon
 * (contract S10): opening, closing, locking, syncing and allocating. Everything in this room makes
 * them through this interface, on helper threads. `posix_calls_here` makes them in the thread that
 * asks; a process that outlives the daemon can make them instead, by another implementation.
 */
#ifndef BLKD_DAEMON_STORAGE_POSIX_CALLS_H
#define BLKD_DAEMON_STORAGE_POSIX_CALLS_H

#include <stdint.h>

struct posix_calls {
    /* A new description of the file behind `fd`, by /proc/self/fd (proc(5)): always the same file,
     * whatever has become of its name. `flags` as for open(2), with O_CLOEXEC and O_NOCTTY added. A
     * descriptor or a negative errno. */
    int (*reopen)(int fd, int flags);

    /* -1 is no descriptor, and no mistake. Its locks and claims are free when this returns. */
    void (*close)(int fd);

    /* flock(2) with LOCK_NB, for `operation` LOCK_SH or LOCK_EX. 0; -EBUSY: somebody else holds it;
     * or another negative errno. */
    int (*lock)(int fd, int operation);

    /* fdatasync(2), which keeps the size. 0 or a negative errno; EINTR is one of them: what became
     * of such a sync is unknown. */
    int (*sync)(int fd);

    /* fallocate(2). 0 or a negative errno. */
    int (*allocate)(int fd, int mode, uint64_t offset_bytes, uint64_t length_bytes);
};

extern const struct posix_calls posix_calls_here;

#endif
