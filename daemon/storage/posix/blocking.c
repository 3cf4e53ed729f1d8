/* SPDX-License-Identifier: MIT */
/* Sync, resize, seek and a look at the size: on helper threads. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "common/devprobe.h"
#include "common/range.h"
#include "daemon/base/privileges.h"
#include "daemon/storage/posix/posix.h"

void posix_delay(uint64_t delay_us)
{
    struct timespec left = {.tv_sec = (time_t)(delay_us / 1000000),
                            .tv_nsec = (long)(delay_us % 1000000) * 1000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

/* Whether nothing could ever be written by this device's descriptors. */
static bool posix_is_read_only(const struct posix *posix)
{
    return (fcntl(posix->cursor_fd, F_GETFL) & O_ACCMODE) == O_RDONLY &&
           (fcntl(posix->data_fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

/* A file system that cannot be written (squashfs, erofs) has no sync, and says so. Where something
 * may have been written these are failures: an aborted btrfs answers EROFS. */
static bool posix_has_no_sync(const struct posix *posix, int error)
{
    return (error == -EINVAL || error == -EOPNOTSUPP || error == -EROFS) &&
           posix_is_read_only(posix);
}

/* A sync that the fault engine wants to fail is not done. */
int posix_do_sync(struct posix *posix, const struct io *io)
{
    if (io->fault_delay_us > 0)
        posix_delay(io->fault_delay_us);
    if (io->fault_error < 0)
        return io->fault_error;
    int error = posix->calls->sync(posix->cursor_fd);
    return posix_has_no_sync(posix, error) ? 0 : error;
}

static int posix_truncate(int fd, uint64_t size_bytes)
{
    while (ftruncate(fd, (off_t)size_bytes) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int posix_do_resize(struct posix *posix, const struct io *io)
{
    privileges_lower();
    int error = posix_truncate(posix->data_fd, io->value);
    privileges_restore();
    return error;
}

/* Like lseek, but what is past the last data or hole is at the device's end, and a file system
 * that knows no holes has none. */
static int posix_seek(int fd, uint64_t offset, int whence, uint64_t size, uint64_t *ret_offset)
{
    off_t found = lseek(fd, (off_t)offset, whence);
    if (found >= 0)
        *ret_offset = (uint64_t)found < size ? (uint64_t)found : size;
    else if (errno == ENXIO)
        *ret_offset = size;
    else
        return -errno;
    return 0;
}

static int posix_seek_mapped(int fd, struct io *io)
{
    uint64_t data = 0;
    int error = posix_seek(fd, io->offset_bytes, SEEK_DATA, io->size_bytes, &data);
    if (error == 0)
        io->value = range_round_down(data, io->sector_size);
    return error;
}

/* A hole's start rounds up and its end down; one that covers no whole sector is none. */
static int posix_seek_unmapped(int fd, struct io *io)
{
    uint64_t at = io->offset_bytes;
    while (at < io->size_bytes) {
        uint64_t hole = 0;
        uint64_t start = 0;
        uint64_t end = 0;
        int error = posix_seek(fd, at, SEEK_HOLE, io->size_bytes, &hole);
        if (error == 0 && hole < io->size_bytes)
            error = posix_seek(fd, hole, SEEK_DATA, io->size_bytes, &end);
        if (error < 0)
            return error;
        if (hole >= io->size_bytes || !range_round_up(hole, io->sector_size, &start))
            break;
        if (range_round_down(end, io->sector_size) > start) {
            io->value = start;
            return 0;
        }
        at = end;
    }
    io->value = io->size_bytes;
    return 0;
}

int posix_do_seek(struct posix *posix, struct io *io)
{
    if (io->offset_bytes >= io->size_bytes) {
        io->value = io->size_bytes;
        return 0;
    }
    if (posix->kind == DEVICE_BLOCK) {
        io->value = io->unmapped ? io->size_bytes : io->offset_bytes;
        return 0;
    }
    return io->unmapped ? posix_seek_unmapped(posix->data_fd, io)
                        : posix_seek_mapped(posix->data_fd, io);
}

int posix_do_look(struct posix *posix, struct io *io)
{
    return devprobe_size(posix->cursor_fd, &io->value);
}
