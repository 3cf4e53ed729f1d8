/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/devprobe.h"
#include "common/limits.h"
#include "common/range.h"
#include "daemon/base/system.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/storage/posix/posix.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

enum { PROBE_BYTES = 4096 };

static const struct backend_ops posix_ops = {
    .submit = posix_submit,
    .writes_inline = posix_writes_inline,
    .discard_method = posix_discard_method,
    .policy = posix_policy,
    .pin = posix_pin,
    .unpin = posix_unpin,
    .adopt = posix_adopt,
    .close = posix_close,
};

static int posix_say(char message[BACKEND_MESSAGE_MAX], int error, const char *what)
{
    (void)snprintf(message, BACKEND_MESSAGE_MAX, "%s: %s", what, strerror(-error));
    return error;
}

/* O_PATH first: what is opened is looked at before it is really opened, because opening a FIFO can
 * block, and opening a tape or a watchdog does something. */
static int posix_locate(const struct backend_open *open_, struct stat *ret_status,
                        char message[BACKEND_MESSAGE_MAX])
{
    CLEANUP_CLOSE int fd = -1;
    if (open_->fd >= 0)
        fd = fcntl(open_->fd, F_DUPFD_CLOEXEC, 3);
    else
        fd = open(open_->path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return posix_say(message, -errno, "cannot open it");
    if (fstat(fd, ret_status) < 0)
        return posix_say(message, -errno, "cannot examine it (fstat)");
    if (!S_ISREG(ret_status->st_mode) && !S_ISBLK(ret_status->st_mode)) {
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "neither a regular file nor a block device");
        return -ENOTBLK;
    }
    return TAKE_FD(fd);
}

/* A program that runs is not to be written to, but can be read. */
static bool posix_falls_back(int error)
{
    return error == -EACCES || error == -EPERM || error == -EROFS || error == -ETXTBSY;
}

/* A device that says that it is read-only (BLKROGET) can be opened for writing all the same. */
static int posix_check_writable(int fd, mode_t mode)
{
    bool read_only = false;
    if (!S_ISBLK(mode) || devprobe_read_only(fd, &read_only) < 0 || !read_only)
        return 0;
    return -EROFS;
}

/* Opens the cursor: read/write first, read-only where the block interface says so. */
static int posix_open_cursor(const struct posix *posix, const struct backend_open *open_,
                             int path_fd, mode_t mode, bool *ret_read_write,
                             char message[BACKEND_MESSAGE_MAX])
{
    int error = 0;
    if (!open_->read_only_asked) {
        CLEANUP_CLOSE int fd = posix->calls->reopen(path_fd, O_RDWR);
        error = fd < 0 ? fd : posix_check_writable(fd, mode);
        if (error == 0) {
            *ret_read_write = true;
            return TAKE_FD(fd);
        }
        if (open_->read_write_asked || !posix_falls_back(error))
            return posix_say(message, error, "cannot open it read/write");
    }
    int fd = posix->calls->reopen(path_fd, O_RDONLY);
    if (fd < 0)
        return posix_say(message, fd, "cannot open it read-only");
    *ret_read_write = false;
    return fd;
}

static int posix_open_data(struct posix *posix, bool read_write, struct backend_info *info,
                           char message[BACKEND_MESSAGE_MAX])
{
    int flags = read_write ? O_RDWR : O_RDONLY;
    struct devprobe_direct granule;
    if (info->direct && devprobe_direct(posix->cursor_fd, &granule) == 0) {
        int fd = posix->calls->reopen(posix->cursor_fd, flags | O_DIRECT);
        if (fd >= 0) {
            info->granule_bytes = granule.offset_align_bytes > info->granule_bytes
                                      ? granule.offset_align_bytes
                                      : info->granule_bytes;
            return fd;
        }
        if (fd != -EINVAL)
            return posix_say(message, fd, "cannot open it for direct I/O");
    }
    /* The file system cannot do direct I/O: buffered is effective then, and get_info says so. */
    info->direct = false;
    int fd = posix->calls->reopen(posix->cursor_fd, flags);
    return fd < 0 ? posix_say(message, fd, "cannot open it for I/O") : fd;
}

/* zram answers RWF_NOWAIT as if it could not block, and blocks. */
static bool posix_is_zram(dev_t device)
{
    char path[64];
    char target[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length <= 0)
        return true;
    target[length] = '\0';
    const char *name = strrchr(target, '/');
    return name != NULL && strncmp(name + 1, "zram", 4) == 0;
}

static bool posix_knows_nowait(unsigned long magic)
{
    return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC;
}

/* Whether the kernel takes RWF_NOWAIT on this descriptor at all. */
static bool posix_takes_nowait(int fd)
{
    uint8_t byte = 0;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    ssize_t result = preadv2(fd, &vector, 1, 0, RWF_NOWAIT);
    return result >= 0 || errno == EAGAIN;
}

/* Whether the file system or device keeps its word about RWF_NOWAIT. */
static bool posix_nowait_holds(struct posix *posix, const struct stat *status)
{
    struct statfs filesystem = {0};
    if (posix->kind == DEVICE_BLOCK)
        return !posix_is_zram(status->st_rdev);
    if (fstatfs(posix->data_fd, &filesystem) < 0)
        return false;
    unsigned long magic = (unsigned long)filesystem.f_type;
    posix->memory = magic == TMPFS_MAGIC || magic == RAMFS_MAGIC;
    return posix_knows_nowait(magic);
}

static void posix_choose_ways(struct posix *posix, const struct stat *status)
{
    bool nowait = posix_nowait_holds(posix, status);
    posix->reads = POSIX_ENGINE;
    posix->writes = POSIX_ENGINE;
    posix->punts = !nowait;
    posix->keeps_dsync =
        (posix->kind == DEVICE_BLOCK || posix->memory || nowait) && system_check_pwritev2() == 0;
    if (posix->direct)
        return;
    if (posix->memory) {
        posix->reads = POSIX_INLINE;
        posix->writes = POSIX_INLINE;
    } else if (nowait && posix_takes_nowait(posix->data_fd)) {
        posix->reads = POSIX_NOWAIT;
        /* Where buffered writes do not know it, the first one finds out. */
        posix->writes = posix->kind == DEVICE_FILE ? POSIX_NOWAIT : POSIX_ENGINE;
    }
}

/* The queue of the whole disk tells whether the device zeroes by itself; a partition has its
 * disk's. */
static bool posix_device_zeroes(dev_t device)
{
    for (unsigned int up = 0; up < 2; up++) {
        char path[96];
        char text[32] = "";
        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/write_zeroes_max_bytes",
                       major(device), minor(device), up == 0 ? "" : "../");
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
            return strtoull(text, NULL, 10) > 0;
    }
    return false;
}

static int posix_fill_info(struct posix *posix, const struct stat *status,
                           struct backend_info *info, char message[BACKEND_MESSAGE_MAX])
{
    uint32_t block = SECTOR_SIZE_MIN;
    int error = devprobe_size(posix->cursor_fd, &info->size_bytes);
    if (error == 0 && posix->kind == DEVICE_BLOCK)
        error = devprobe_logical_block(posix->cursor_fd, &block);
    if (error < 0)
        return posix_say(message, error, "cannot get its size");
    info->kind = posix->kind;
    info->granule_bytes = block > SECTOR_SIZE_MIN ? block : SECTOR_SIZE_MIN;
    info->identity = (struct device_identity){.kind = (uint64_t)posix->kind};
    if (posix->kind == DEVICE_BLOCK) {
        info->identity.dev = status->st_rdev;
    } else {
        info->identity.dev = status->st_dev;
        info->identity.inode = status->st_ino;
    }
    posix->identity = info->identity;
    return 0;
}

static struct posix *posix_new(enum device_kind kind)
{
    struct posix *posix = calloc(1, sizeof(*posix));
    if (posix == NULL)
        return NULL;
    posix->base.ops = &posix_ops;
    posix->calls = &posix_calls_here;
    helper_share_init(&posix->base.share, HELPER_PER_DEVICE);
    engine_target_init(&posix->target);
    posix->kind = kind;
    posix->cursor_fd = -1;
    posix->read_only_fd = -1;
    posix->data_fd = -1;
    posix->guard_fd = -1;
    posix->exclusive_fd = -1;
    (void)pthread_mutex_init(&posix->guard_mutex, NULL);
    return posix;
}

static void cleanup_posix(struct posix **posix)
{
    if (*posix != NULL)
        posix_close(&(*posix)->base);
}

static bool posix_knows_holes(unsigned long magic)
{
    return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC ||
           magic == TMPFS_MAGIC;
}

/* Whether the file system punches holes is tried where it is not known: past the end, where there
 * is nothing to lose; but that changes the file's times. */
static enum discard_method posix_file_discard(const struct posix *posix, uint64_t size_bytes)
{
    const uint64_t past = (size_bytes / PROBE_BYTES + 1) * PROBE_BYTES;
    struct statfs filesystem;
    if (fstatfs(posix->data_fd, &filesystem) == 0 &&
        posix_knows_holes((unsigned long)filesystem.f_type))
        return DISCARD_PUNCH_HOLE;
    int error = posix->calls->allocate(posix->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                       past, PROBE_BYTES);
    bool refused = error == -EOPNOTSUPP || error == -ENOSYS || error == -ENODEV || error == -EINVAL;
    return refused ? DISCARD_WRITE : DISCARD_PUNCH_HOLE;
}

static enum discard_method posix_first_discard(const struct posix *posix,
                                               const struct backend_info *info)
{
    if (posix->kind == DEVICE_BLOCK)
        return posix_device_zeroes(info->identity.dev) ? DISCARD_PUNCH_HOLE : DISCARD_ZERO_RANGE;
    if (!info->read_write)
        return DISCARD_PUNCH_HOLE;
    return posix_file_discard(posix, info->size_bytes);
}

/* What the world outside has to do with it. Nobody writes to a device that is mounted: its file
 * system would not notice, and write over it. */
static int posix_look_around(const struct posix *posix, struct backend_info *info,
                             enum refusal *ret_refusal, char message[BACKEND_MESSAGE_MAX])
{
    enum refusal refusal = REFUSAL_NONE;
    int error = info->read_write ? outside_check(&info->identity, false, message, &refusal) : 0;
    if (ret_refusal != NULL)
        *ret_refusal = refusal;
    if (error < 0)
        return error;
    error = outside_find_related(&info->identity, info->related, &info->related_count);
    if (error < 0)
        return posix_say(message, error, "cannot find out which devices share its bytes");
    outside_key(posix->cursor_fd, &info->identity, &info->key);
    outside_place(&info->identity, &info->place);
    info->volatile_storage = outside_is_volatile(posix->cursor_fd, &info->identity);
    return 0;
}

static int posix_open_once(const struct backend_open *open_, struct backend **ret_backend,
                           struct backend_info *ret_info, char message[BACKEND_MESSAGE_MAX])
{
    struct stat status;
    struct backend_info info = {.direct = open_->direct};
    CLEANUP_CLOSE int path_fd = posix_locate(open_, &status, message);
    if (path_fd < 0)
        return path_fd;
    CLEANUP(cleanup_posix)
    struct posix *posix = posix_new(S_ISBLK(status.st_mode) ? DEVICE_BLOCK : DEVICE_FILE);
    if (posix == NULL) {
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "out of memory");
        return -ENOMEM;
    }
    posix->cursor_fd =
        posix_open_cursor(posix, open_, path_fd, status.st_mode, &info.read_write, message);
    if (posix->cursor_fd < 0)
        return posix->cursor_fd;
    int error = posix_fill_info(posix, &status, &info, message);
    if (error == 0)
        error = posix_look_around(posix, &info, open_->ret_refusal, message);
    if (error < 0)
        return error;
    posix->data_fd = posix_open_data(posix, info.read_write, &info, message);
    if (posix->data_fd < 0)
        return posix->data_fd;
    /* A part of a logical block at the end cannot be reached. */
    if (posix->kind == DEVICE_BLOCK)
        info.size_bytes = range_round_down(info.size_bytes, info.granule_bytes);
    posix->direct = info.direct;
    posix->discard = posix_first_discard(posix, &info);
    posix_choose_ways(posix, &status);
    *ret_backend = &TAKE_PTR(posix)->base;
    *ret_info = info;
    return 0;
}

/* What is mounted or otherwise in use is not to be written to, but can be read. */
int backend_posix_open(const struct backend_open *open_, struct backend **ret_backend,
                       struct backend_info *ret_info, char message[BACKEND_MESSAGE_MAX])
{
    int error = posix_open_once(open_, ret_backend, ret_info, message);
    if (error != -EBUSY || open_->read_only_asked || open_->read_write_asked)
        return error;
    struct backend_open reading = *open_;
    reading.read_only_asked = true;
    return posix_open_once(&reading, ret_backend, ret_info, message);
}

/* The donor's description is the daemon's own: between direct and buffered it is changed as it is,
 * since to open the file once more could block. */
static int posix_set_direct(int fd, bool direct)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int posix_adopt(struct backend *backend, struct backend *donor)
{
    struct posix *posix = posix_of(backend);
    struct posix *from = posix_of(donor);
    if (posix->direct != from->direct) {
        int error = posix_set_direct(from->data_fd, posix->direct);
        if (error < 0)
            return error;
    }
    /* Reads in flight still use the old one; it stays open until the device is closed. */
    posix->read_only_fd = atomic_load(&posix->data_fd);
    atomic_store(&posix->data_fd, atomic_exchange(&from->data_fd, -1));
    atomic_store(&posix->discard, atomic_load(&from->discard));
    return 0;
}

void posix_close(struct backend *backend)
{
    struct posix *posix = posix_of(backend);
    if (posix->exclusive_fd >= 0) {
        posix->calls->close(posix->exclusive_fd);
        outside_claim_end(posix->identity.dev);
    }
    posix->calls->close(posix->guard_fd);
    (void)pthread_mutex_destroy(&posix->guard_mutex);
    posix->calls->close(posix->data_fd);
    posix->calls->close(posix->read_only_fd);
    posix->calls->close(posix->cursor_fd);
    engine_target_deinit(&posix->target);
    helper_share_deinit(&posix->base.share);
    free(posix);
}
