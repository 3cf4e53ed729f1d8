/* SPDX-License-Identifier: MIT */
/* blkd.h on its own, as C99 and as C++11: nothing included before it, every initialiser used. */
#include <blkd.h>

struct blkd_config abi_config(void);
struct blkd_options abi_options(void);
struct blkd_lock_request abi_lock_request(void);

struct blkd_config abi_config(void)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    config.sync = BLKD_SYNC_DRIVE;
    return config;
}

struct blkd_options abi_options(void)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;
    options.busy_poll_us = BLKD_BUSY_POLL_NEVER;
    return options;
}

struct blkd_lock_request abi_lock_request(void)
{
    struct blkd_lock_request request = BLKD_LOCK_REQUEST_INIT;
    request.wait_ms = BLKD_WAIT_FOREVER;
    return request;
}
