/* SPDX-License-Identifier: MIT */
#include "daemon/base/system.h"

#include <errno.h>
#include <stddef.h>
#include <sys/uio.h>

int system_check_pwritev2(void)
{
    struct iovec vector = {.iov_base = NULL, .iov_len = 0};

    return pwritev2(-1, &vector, 1, 0, 0) < 0 && errno != EBADF ? -errno : 0;
}
