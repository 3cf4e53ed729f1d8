/* SPDX-License-Identifier: MIT */
/* blkd.h on its own, as C99 and as C++11: nothing included before it, every initialiser used. */
#include <blkd.h>

struct blkd_config abi_config(void);
struct blkd_options abi_options(void);
struct blkd_lock_request abi_lock_request(void);

/* Entries are reached by pointers, so that they can grow. */
const char *abi_first_path(const struct blkd_device_list *devices);
uint64_t abi_first_number(const struct blkd_session_list *sessions);
uint64_t abi_first_token(const struct blkd_lock_list *locks);
uint32_t abi_first_pid(const struct blkd_holders *holders);

const char *abi_first_path(const struct blkd_device_list *devices)
{
    return devices->entries[0]->path;
}

uint64_t abi_first_number(const struct blkd_session_list *sessions)
{
    return sessions->entries[0]->session_number;
}

uint64_t abi_first_token(const struct blkd_lock_list *locks)
{
    return locks->entries[0]->token;
}

uint32_t abi_first_pid(const struct blkd_holders *holders)
{
    return holders->entries[0]->pid;
}

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
