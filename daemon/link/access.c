/* SPDX-License-Identifier: MIT */
#include "daemon/link/access.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/devprobe.h"

enum {
    ACCESS_MOUNTS_PIECE = 4096,
    ACCESS_VIEW_TRIES = 3,
};

bool access_is_trusted(const struct peer *peer)
{
    return peer->uid == 0 || peer->uid == geteuid();
}

static int access_refuse(char message[ACCESS_MESSAGE_MAX], int error, const char *reason)
{
    (void)snprintf(message, ACCESS_MESSAGE_MAX, "%s", reason);
    return error;
}

/* 1: both files are there, are not empty, and have the same contents; 0: not; or the negative errno
 * of a daemon that has no room to look. */
static int access_same_text(const char *path, const char *other_path)
{
    char piece[ACCESS_MOUNTS_PIECE];
    char other_piece[ACCESS_MOUNTS_PIECE];
    size_t total = 0;
    size_t length = 0;
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    CLEANUP_FCLOSE FILE *other = fopen(other_path, "re");
    if (file == NULL || other == NULL)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
    do {
        length = fread(piece, 1, sizeof(piece), file);
        if (fread(other_piece, 1, sizeof(other_piece), other) != length ||
            memcmp(piece, other_piece, length) != 0)
            return 0;
        total += length;
    } while (length == sizeof(piece));
    return total > 0 && ferror(file) == 0 && ferror(other) == 0;
}

/* mountinfo, since ns/mnt and root are not shown to a daemon in a sandbox. It lists the mounts
 * below the process' root directory, by numbers that no two mounts share, whatever their
 * namespaces. It may change between the two reads. */
int access_check_view(const struct peer *peer, char message[ACCESS_MESSAGE_MAX])
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)peer->pid);
    for (unsigned int i = 0; i < ACCESS_VIEW_TRIES; i++) {
        int same = access_same_text("/proc/self/mountinfo", path);
        if (same > 0)
            return 0;
        if (same < 0)
            return access_refuse(message, same,
                                 "the daemon cannot look at the program's mounts: it has no "
                                 "descriptor or memory left");
    }
    return access_refuse(message, -EACCES,
                         "a path is only served to programs with the daemon's own root directory "
                         "and mounts, where it is sure to mean the same file: open it and pass the "
                         "descriptor (libblkd does this)");
}

/* AT_STATX_DONT_SYNC: a network or FUSE file system answers from what it has cached (statx(2)). */
static int access_check_type(int fd, char message[ACCESS_MESSAGE_MAX])
{
    struct statx status;
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) < 0)
        return access_refuse(message, -errno, "cannot examine the passed descriptor (statx)");
    if (!S_ISREG(status.stx_mode) && !S_ISBLK(status.stx_mode))
        return access_refuse(message, -ENOTBLK,
                             "the passed descriptor is neither a regular file nor a block device");
    return 0;
}

/* On /proc, /sys and the like a write is an order to the kernel, which looks at whose it is: the
 * daemon's, not the peer's. They have no blocks to store anything in. */
static bool access_is_storage(int fd)
{
    struct statfs filesystem;
    if (fstatfs(fd, &filesystem) < 0)
        return false;
    unsigned long magic = (unsigned long)filesystem.f_type;
    return filesystem.f_blocks > 0 || magic == TMPFS_MAGIC || magic == RAMFS_MAGIC;
}

/* In a container, the peer's mounts are others than the daemon's. */
static int access_check_filesystem(int fd, const struct peer *peer,
                                   char message[ACCESS_MESSAGE_MAX])
{
    char type[64];
    int error = devprobe_filesystem(fd, type, sizeof(type));
    if (error < 0)
        error = devprobe_filesystem_there(fd, peer->pid, type, sizeof(type));
    if (error < 0)
        return access_refuse(message, -EACCES,
                             "the passed descriptor is on a file system that is mounted neither "
                             "where the daemon runs nor where the program does");
    if (devprobe_filesystem_is_remote(type)) {
        (void)snprintf(
            message, ACCESS_MESSAGE_MAX,
            "the passed descriptor is on %s, which can hang: only root may pass such descriptors",
            type);
        return -EACCES;
    }
    if (!access_is_storage(fd)) {
        (void)snprintf(message, ACCESS_MESSAGE_MAX,
                       "the passed descriptor is on %s, which does not store data", type);
        return -EACCES;
    }
    return 0;
}

int access_check_descriptor(int fd, const struct peer *peer, bool *ret_writable,
                            char message[ACCESS_MESSAGE_MAX])
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return access_refuse(message, -errno, "cannot use the passed descriptor (F_GETFL)");
    if ((flags & O_PATH) != 0)
        return access_refuse(
            message, -EINVAL,
            "the passed descriptor was opened with O_PATH, which does not permit I/O");
    int error = access_check_type(fd, message);
    if (error < 0)
        return error;
    if ((flags & O_ACCMODE) == O_WRONLY)
        return access_refuse(message, -EINVAL,
                             "the passed descriptor is open only for writing: open it for reading, "
                             "or for reading and writing");
    if (!access_is_trusted(peer))
        error = access_check_filesystem(fd, peer, message);
    if (error == 0)
        /* One that only appends is for writing at the end and nowhere else. */
        *ret_writable = (flags & (O_ACCMODE | O_APPEND)) == O_RDWR;
    return error;
}

int access_check_question(int fd, const struct peer *peer, char message[ACCESS_MESSAGE_MAX])
{
    bool writable = false;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) == 0)
        return access_check_descriptor(fd, peer, &writable, message);
    if (!access_is_trusted(peer))
        return access_refuse(message, -EACCES,
                             "the passed descriptor was opened with O_PATH, which does not show "
                             "that the file may be read: open it for reading");
    return access_check_type(fd, message);
}
