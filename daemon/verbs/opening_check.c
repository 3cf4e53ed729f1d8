/* SPDX-License-Identifier: MIT */
/* Whether what a client asks to open may be asked for at all: found out before anything is touched,
 * so that a refusal tells nothing of what is there. */
#include <errno.h>
#include <string.h>

#include "common/limits.h"
#include "common/range.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/opening.h"

static int opening_check_path(const struct opening *opening, const char **ret_reason)
{
    if (opening->path_bytes >= PATH_BYTES_MAX) {
        *ret_reason = "the path is longer than 4095 bytes";
        return -EINVAL;
    }
    if (memchr(opening->path, '\0', opening->path_bytes) != NULL) {
        *ret_reason = "the path contains a NUL byte";
        return -EINVAL;
    }
    if (opening->descriptor)
        return 0;
    if (*opening->path != '/') {
        *ret_reason = "the path is not absolute";
        return -EINVAL;
    }
    if (!access_is_trusted(&opening->request->conn->peer)) {
        *ret_reason = "the daemon opens paths only for root: open the file and pass the descriptor "
                      "(libblkd does this)";
        return -EACCES;
    }
    return 0;
}

int opening_check(const struct opening *opening, const char **ret_reason)
{
    const struct session_config *config = &opening->config;
    if ((unsigned int)config->sync > SESSION_SYNC_DRIVE ||
        (unsigned int)config->access > SESSION_ACCESS_READ_WRITE) {
        *ret_reason = "unknown sync level or access mode";
        return -EINVAL;
    }
    if (config->sector_size != 0 && !range_is_sector_size(config->sector_size)) {
        *ret_reason = "the sector size is not a power of two from 512 to 65536";
        return -EINVAL;
    }
    if (opening->descriptor && opening->fd < 0) {
        *ret_reason = "the request came without a descriptor";
        return -EINVAL;
    }
    return opening_check_path(opening, ret_reason);
}
