/* SPDX-License-Identifier: MIT */
/* An initialiser of the time when `buffered` was the second member: it must not compile, because it
 * would mean something else now. */
#include <blkd.h>

struct blkd_config abi_config(void);

struct blkd_config abi_config(void)
{
    struct blkd_config config = {"disk.img", true, BLKD_SYNC_OS, false};
    return config;
}
