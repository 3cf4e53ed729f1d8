/* SPDX-License-Identifier: MIT */
#include "daemon/storage/posix/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int here_reopen(int fd, int flags)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int reopened = open(path, flags | O_CLOEXEC | O_NOCTTY);
    return reopened < 0 ? -errno : reopened;
}

static void here_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

static int here_lock(int fd, int operation)
{
    while (flock(fd, operation | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return -EBUSY;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int here_sync(int fd)
{
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int here_allocate(int fd, int mode, uint64_t offset_bytes, uint64_t length_bytes)
{
    while (fallocate(fd, mode, (off_t)offset_bytes, (off_t)length_bytes) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

const struct posix_calls posix_calls_here = {
    .reopen = here_reopen,
    .close = here_close,
    .lock = here_lock,
    .sync = here_sync,
    .allocate = here_allocate,
};
