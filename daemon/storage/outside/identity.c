/* SPDX-License-Identifier: MIT */
/* See identity.h. The kernel is asked for what it has cached. */
#include "daemon/storage/outside/identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

bool identity_of_path(const char *path, struct device_identity *ret_identity)
{
    struct statx status;
    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO,
              &status) < 0)
        return false;
    if (S_ISBLK(status.stx_mode)) {
        *ret_identity = (struct device_identity){
            .kind = DEVICE_BLOCK, .dev = makedev(status.stx_rdev_major, status.stx_rdev_minor)};
        return true;
    }
    *ret_identity =
        (struct device_identity){.kind = DEVICE_FILE,
                                 .dev = makedev(status.stx_dev_major, status.stx_dev_minor),
                                 .inode = status.stx_ino};
    return S_ISREG(status.stx_mode);
}
