/* SPDX-License-Identifier: MIT */
/* The yardstick: pread and pwrite in the loop itself, what a program does that opens the image
 * alone. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/complaint.h"
#include "tests/bench/target.h"

struct direct {
    struct target target;
    int fd;
};

static int file_size(int fd, uint64_t *ret_size_bytes)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISBLK(status.st_mode))
        return ioctl(fd, BLKGETSIZE64, ret_size_bytes) < 0 ? -errno : 0;
    if (!S_ISREG(status.st_mode))
        return -ENOTBLK;
    *ret_size_bytes = (uint64_t)status.st_size;
    return 0;
}

int target_open_file(const struct target_options *options, int *ret_fd, uint64_t *ret_size_bytes)
{
    int flags = O_CLOEXEC | (options->read_write ? O_RDWR : O_RDONLY);
    CLEANUP_CLOSE int fd = open(options->address, flags | (options->o_direct ? O_DIRECT : 0));
    int r = fd < 0 ? -errno : file_size(fd, ret_size_bytes);
    if (r < 0) {
        complain("cannot open %s for %s%s: %s", options->address,
                 options->read_write ? "reading and writing" : "reading",
                 options->o_direct ? " with O_DIRECT" : "", strerror(-r));
        return r;
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int direct_open(const struct target_options *options, struct target **ret_target)
{
    CLEANUP_FREE struct direct *direct = calloc(1, sizeof(*direct));
    if (!direct)
        return -ENOMEM;
    int r = target_open_file(options, &direct->fd, &direct->target.size_bytes);
    if (r < 0)
        return r;
    direct->target.type = &target_direct;
    direct->target.granule_bytes = 1;
    *ret_target = &TAKE_PTR(direct)->target;
    return 0;
}

/* Regular files and block devices transfer all or fail, but for a full disk, a signal or the end.
 */
static int whole(ssize_t transferred, size_t wanted)
{
    if (transferred < 0)
        return -errno;
    return (size_t)transferred == wanted ? 0 : -EIO;
}

int target_transfer_file(int fd, const struct op *op)
{
    const struct iovec *buffer = &op->buffer;
    off_t offset = (off_t)op->offset_bytes;
    if (op->kind == OP_READ)
        return whole(pread(fd, buffer->iov_base, buffer->iov_len, offset), buffer->iov_len);
    return whole(pwrite(fd, buffer->iov_base, buffer->iov_len, offset), buffer->iov_len);
}

static int direct_submit(struct target *target, struct op *op)
{
    int fd = ((struct direct *)target)->fd;
    if (op->kind == OP_READ || op->kind == OP_WRITE)
        op_complete(op, target_transfer_file(fd, op));
    else
        op_complete(op, fdatasync(fd) < 0 ? -errno : 0);
    return 0;
}

static int direct_wait(struct target *target)
{
    (void)target;
    return 0;
}

static void direct_close(struct target *target)
{
    (void)close(((struct direct *)target)->fd);
    free(target);
}

const struct target_type target_direct = {
    .scheme = "direct",
    .open = direct_open,
    .submit = direct_submit,
    .wait = direct_wait,
    .close = direct_close,
};
