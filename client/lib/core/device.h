/* SPDX-License-Identifier: MIT */
/*
 * An open device: a session of the daemon's, as the user holds it. Constant from open to close but
 * for the count of its calls. A close is sent when the calls before it are done, but for those that
 * wait for a lock (`parked`), which it ends; the handle is freed when the close and they are
 * answered (or the daemon is gone). The call that closes is made beforehand, so that closing cannot
 * fail.
 */
#ifndef BLKD_CLIENT_LIB_CORE_DEVICE_H
#define BLKD_CLIENT_LIB_CORE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/blkd.h"

struct call;

struct blkd_device {
    LIST_ENTRY(blkd_device) link;
    struct blkd *connection;
    struct call *close_call;
    bool closing;
    bool closed;      /* the daemon has answered the close */
    uint32_t pending; /* calls that are not done */
    uint32_t parked;  /* those of them that a close does not wait for */
    uint64_t session;
    uint32_t sector_size;
    struct blkd_config config; /* as asked; `path` is the device's name in messages */
    char *path;
    char *purpose; /* may be NULL */
};

LIST_HEAD(device_list, blkd_device);

/* One of the device's calls is submitted, or done; the latter may free a device that is being
 * closed. Mutex held. */
void device_call_began(struct blkd_device *device, bool parked);
void device_call_ended(struct blkd_device *device, bool parked);

/* Frees the handle; NULL is allowed. Mutex held if it is in the connection's list. */
void device_free(struct blkd_device *device);

/* The open device of this session or NULL. Mutex held. */
struct blkd_device *device_find(struct blkd *connection, uint64_t session);

#endif
