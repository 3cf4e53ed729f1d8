/* SPDX-License-Identifier: MIT */
/* See openpath.h. */
#include "client/lib/api/openpath.h"

#include <errno.h>
#include <fcntl.h>

#include "common/standard.h"

static int openpath_try(const char *path, int access_mode)
{
    struct standard_hold hold;
    int fd;

    standard_hold_begin(&hold);
    do
        fd = open(path, access_mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    standard_hold_end(&hold);
    return fd < 0 ? -errno : fd;
}

int openpath_open(const char *path, enum blkd_access access)
{
    int fd;

    if (access == BLKD_ACCESS_READ_ONLY)
        return openpath_try(path, O_RDONLY);
    fd = openpath_try(path, O_RDWR);
    if (access == BLKD_ACCESS_AUTO &&
        (fd == -EACCES || fd == -EPERM || fd == -EROFS || fd == -ETXTBSY))
        fd = openpath_try(path, O_RDONLY);
    return fd;
}

bool openpath_retry(struct call *call, const char *path, enum blkd_access access)
{
    int fd;

    if (call->result.error != -EACCES || call->passing.asked)
        return false;
    fd = openpath_open(path, access);
    if (fd < 0) {
        call_set_failure(call, fd,
                         "blkd opens paths only for root, so this program tried to open it itself");
        return false;
    }
    call->passing.fd = fd;
    call->passing.asked = true;
    return true;
}
