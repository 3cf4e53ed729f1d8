/* SPDX-License-Identifier: MIT */
/*
 * The block interface's local helpers: they work on a descriptor of the caller's own, without a
 * daemon.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "client/blkd.h"
#include "client/lib/base/error.h"
#include "common/devprobe.h"

int blkd_really_read(int fd, void *buffer, size_t length_bytes)
{
    size_t done = 0;

    while (done < length_bytes) {
        ssize_t n = read(fd, (uint8_t *)buffer + done, length_bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return error_report(-ENODATA,
                                "read of %zu bytes from descriptor %d: end of file after %zu bytes",
                                length_bytes, fd, done);
        else if (errno != EINTR)
            return error_report(-errno,
                                "read of %zu bytes from descriptor %d failed after %zu bytes: %s",
                                length_bytes, fd, done, strerrordesc_np(errno));
    }
    return 0;
}

int blkd_really_write(int fd, const void *buffer, size_t length_bytes)
{
    size_t done = 0;

    while (done < length_bytes) {
        ssize_t n = write(fd, (const uint8_t *)buffer + done, length_bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return error_report(
                -EIO, "write of %zu bytes to descriptor %d: it accepts no more than %zu bytes",
                length_bytes, fd, done);
        else if (errno != EINTR)
            return error_report(-errno,
                                "write of %zu bytes to descriptor %d failed after %zu bytes: %s",
                                length_bytes, fd, done, strerrordesc_np(errno));
    }
    return 0;
}

int blkd_blkgetsize(const char *path, int fd, uint64_t *ret_size_bytes)
{
    int r = devprobe_size(fd, ret_size_bytes);

    if (r < 0)
        return error_report(r, "getting the size of %s (descriptor %d) failed: %s",
                            path != NULL ? path : "a device", fd,
                            r == -EBADF ? strerrordesc_np(EBADF) : blkd_strerror(r));
    return 0;
}

int blkd_ftruncate(int fd, uint64_t size_bytes)
{
    if (size_bytes > INT64_MAX)
        return error_report(-EFBIG,
                            "resizing descriptor %d to %llu bytes: the maximum size of a file is "
                            "2^63 - 1 bytes",
                            fd, (unsigned long long)size_bytes);
    while (ftruncate(fd, (off_t)size_bytes) < 0)
        if (errno != EINTR)
            return error_report(-errno, "resizing descriptor %d to %llu bytes failed: %s", fd,
                                (unsigned long long)size_bytes, strerrordesc_np(errno));
    return 0;
}
