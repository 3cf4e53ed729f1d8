/* SPDX-License-Identifier: MIT */
/*
 * Making a range read as zeroes (contract S8). BLKDISCARD is not used: it promises nothing about
 * contents. On a block device the kernel's hole punch is a zeroing one that fails rather than write
 * (fallocate(2), blkdev_issue_zeroout); zero-range may write. Both get EBUSY through any descriptor
 * but the exclusive one, while there is one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/base/privileges.h"
#include "daemon/storage/posix/posix.h"

enum { ZERO_ALIGN = 4096 };

static int zero_allocate(const struct posix *posix, int fd, int mode, const struct io *io)
{
    return posix->calls->allocate(fd, mode | FALLOC_FL_KEEP_SIZE, io->offset_bytes,
                                  io->length_bytes);
}

static bool zero_is_refused(int error)
{
    return error == -EOPNOTSUPP || error == -EBUSY || error == -EINVAL || error == -ENOSYS ||
           error == -ENODEV;
}

static int zero_write(int fd, const struct io *io)
{
    CLEANUP_FREE uint8_t *zeroes = aligned_alloc(ZERO_ALIGN, IO_BYTES_MAX);
    uint64_t done = 0;
    if (zeroes == NULL)
        return -ENOMEM;
    (void)memset(zeroes, 0, IO_BYTES_MAX);
    while (done < io->length_bytes) {
        uint64_t rest = io->length_bytes - done;
        size_t length = rest < IO_BYTES_MAX ? (size_t)rest : IO_BYTES_MAX;
        ssize_t written = pwrite(fd, zeroes, length, (off_t)(io->offset_bytes + done));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        if (written == 0)
            return -EIO;
        done += (uint64_t)written;
    }
    return 0;
}

static int zero_by(struct posix *posix, enum discard_method method, const struct io *io)
{
    CLEANUP_CLOSE int exclusive = posix_dup_exclusive(posix);
    int fd = exclusive >= 0 ? exclusive : posix->data_fd;
    if (method == DISCARD_PUNCH_HOLE)
        return zero_allocate(posix, fd, FALLOC_FL_PUNCH_HOLE, io);
    if (method == DISCARD_ZERO_RANGE)
        return zero_allocate(posix, fd, FALLOC_FL_ZERO_RANGE, io);
    return zero_write(posix->data_fd, io);
}

/* The method that works is remembered; EBUSY passes, so it is not. */
static int zero_range(struct posix *posix, const struct io *io)
{
    enum discard_method method = posix->discard;
    int error = zero_by(posix, method, io);
    if (error == -EOPNOTSUPP && method == DISCARD_PUNCH_HOLE && posix->kind == DEVICE_BLOCK) {
        method = DISCARD_ZERO_RANGE;
        error = zero_by(posix, method, io);
    }
    if (!zero_is_refused(error)) {
        posix->discard = method;
        return error;
    }
    if (error == -EOPNOTSUPP)
        posix->discard = DISCARD_WRITE;
    return zero_by(posix, DISCARD_WRITE, io);
}

int posix_do_zero(struct posix *posix, struct io *io)
{
    privileges_lower();
    int error = zero_range(posix, io);
    privileges_restore();
    if (error < 0 || !io->fua)
        return error;
    error = posix->calls->sync(posix->cursor_fd);
    io->sync_failed = error < 0;
    return error;
}
