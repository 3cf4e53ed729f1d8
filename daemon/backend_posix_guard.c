/* SPDX-License-Identifier: MIT */
/*
 * Keeping other programs out (CONTRACT L3): flock, which mirage-block-unix and udev look at, and on
 * block devices O_EXCL for the exclusive lock. A descriptor of its own carries both, so that they
 * fall when it is closed, and not before.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/backend_posix.h"

enum {
    /* udev takes a device's flock for a moment after it was written to (udev's "watch"): that is
     * waited out. flock has no timed wait, so it is asked again. */
    GUARD_WAIT_MS = 250,
    GUARD_STEP_MS = 10,
};

static int guard_flock(int fd, int operation)
{
    for (int waited_ms = 0;; waited_ms += GUARD_STEP_MS) {
        const struct timespec step = {.tv_nsec = GUARD_STEP_MS * 1000000L};
        if (flock(fd, operation | LOCK_NB) == 0)
            return 0;
        if (errno == EWOULDBLOCK && waited_ms >= GUARD_WAIT_MS)
            return -EBUSY;
        if (errno == EWOULDBLOCK)
            (void)nanosleep(&step, NULL);
        else if (errno != EINTR)
            return -errno;
    }
}

static int guard_open(struct posix *posix, enum lock_mode mode, int *ret_fd)
{
    int flags = (fcntl(posix->data_fd, F_GETFL) & O_ACCMODE);
    if (posix->kind == DEVICE_BLOCK && mode == LOCK_EXCLUSIVE)
        flags |= O_EXCL;
    CLEANUP_CLOSE int fd = posix_reopen(posix->cursor_fd, flags);
    if (fd < 0)
        return fd;
    int error = guard_flock(fd, mode == LOCK_EXCLUSIVE ? LOCK_EX : LOCK_SH);
    if (error == 0)
        *ret_fd = TAKE_FD(fd);
    return error;
}

/* Whoever held the old mode has released it, so nobody relies on it while the new one is taken. */
int posix_do_guard(struct posix *posix, enum lock_mode mode)
{
    int fd = -1;
    if (mode == posix->guard_mode)
        return 0;
    int old = atomic_exchange(&posix->guard_fd, -1);
    if (old >= 0)
        (void)close(old);
    posix->guard_mode = LOCK_NONE;
    int error = mode == LOCK_NONE ? 0 : guard_open(posix, mode, &fd);
    if (error < 0)
        return error;
    atomic_store(&posix->guard_fd, fd);
    posix->guard_mode = mode;
    return 0;
}
