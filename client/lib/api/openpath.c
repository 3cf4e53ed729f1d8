/* SPDX-License-Identifier: MIT */
/* See openpath.h. */
#include "client/lib/api/openpath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/lib/base/error.h"
#include "common/cleanup.h"
#include "common/standard.h"

enum {
    OPENPATH_TRIES = 8,        /* while somebody replaces the file, and there is no /proc */
    OPENPATH_REPLACED = -4096, /* no errno has this number */
};

static int openpath_call(const char *path, int flags)
{
    struct standard_hold hold;
    int fd;

    standard_hold_begin(&hold);
    do
        fd = open(path, flags | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    standard_hold_end(&hold);
    return fd < 0 ? -errno : fd;
}

/* An O_PATH descriptor of a file or block device. */
static int openpath_look(const char *path, struct stat *ret_status)
{
    CLEANUP_CLOSE int fd = openpath_call(path, O_PATH);

    if (fd < 0)
        return fd;
    if (fstat(fd, ret_status) < 0)
        return -errno;
    if (!S_ISREG(ret_status->st_mode) && !S_ISBLK(ret_status->st_mode))
        return -ENOTBLK;
    return TAKE_FD(fd);
}

/* The descriptor if it is of what was looked at; else it is closed. */
static int openpath_compare(int opened, const struct stat *looked)
{
    CLEANUP_CLOSE int fd = opened;
    struct stat status;

    if (fd < 0)
        return fd;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_dev != looked->st_dev || status.st_ino != looked->st_ino ||
        (status.st_mode & S_IFMT) != (looked->st_mode & S_IFMT))
        return OPENPATH_REPLACED;
    return TAKE_FD(fd);
}

/* What was looked at, opened: through /proc where that is mounted, else by its path once more,
 * where something else may be by now. A medium is not waited for; a lease is, except where it might
 * be a FIFO by now. */
static int openpath_reopen(const char *path, int located, const struct stat *looked,
                           int access_mode)
{
    char link[64];
    int flags = access_mode | O_NOCTTY;
    int fd;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", located);
    fd = openpath_call(link, S_ISBLK(looked->st_mode) ? flags | O_NONBLOCK : flags);
    fd = openpath_compare(fd, looked);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == OPENPATH_REPLACED)
        fd = openpath_compare(openpath_call(path, flags | O_NONBLOCK), looked);
    return fd;
}

static int openpath_once(const char *path, int access_mode)
{
    struct stat looked;
    CLEANUP_CLOSE int located = openpath_look(path, &looked);

    if (located < 0)
        return located;
    return openpath_reopen(path, located, &looked, access_mode);
}

static int openpath_try(const char *path, int access_mode)
{
    int fd = OPENPATH_REPLACED;

    for (int i = 0; i < OPENPATH_TRIES && fd == OPENPATH_REPLACED; i++)
        fd = openpath_once(path, access_mode);
    return fd;
}

static const char *openpath_advice(int error)
{
    switch (error) {
    case -ENOENT:
    case -ENOTDIR:
        return ": check the path (blkd creates no files)";
    case -EROFS:
    case -ETXTBSY:
        return ": open it read-only";
    case -EAGAIN:
        return ": another program has a lease on it, or replaces it: try again";
    default:
        return "";
    }
}

static int openpath_report(const char *name, const char *how, int error)
{
    if (error == OPENPATH_REPLACED)
        error = -EAGAIN;
    return error_report(error, "opening %s%s failed: %s%s", name, how, blkd_strerror(error),
                        openpath_advice(error));
}

int openpath_open(const char *path, const char *name, enum blkd_access access)
{
    int fd = -EROFS;

    if (access != BLKD_ACCESS_READ_ONLY) {
        fd = openpath_try(path, O_RDWR);
        if (fd >= 0)
            return fd;
    }
    if (access == BLKD_ACCESS_READ_WRITE)
        return openpath_report(name, " read/write", fd);
    if (fd == -EACCES || fd == -EPERM || fd == -EROFS || fd == -ETXTBSY)
        fd = openpath_try(path, O_RDONLY);
    return fd >= 0 ? fd : openpath_report(name, "", fd);
}

int openpath_locate(const char *path, const char *name)
{
    struct stat status;
    int fd = openpath_look(path, &status);

    return fd >= 0 ? fd : openpath_report(name, "", fd);
}
