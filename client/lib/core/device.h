/* SPDX-License-Identifier: MIT */
/*
 * An open device: a session of the daemon's, as the user holds it. A close is sent when the calls
 * before it are done, except those that wait for a lock (`parked`), which it ends; the handle is
 * freed when the close and they are answered (or the daemon is gone). The call that closes is made
 * beforehand, so that closing cannot fail.
 */
#ifndef BLKD_CLIENT_LIB_CORE_DEVICE_H
#define BLKD_CLIENT_LIB_CORE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/blkd.h"
#include "client/lib/call/call.h"
#include "client/lib/call/session.h"

/* Under the connection's mutex. */
struct device_closing {
    struct call *call; /* NULL once it is submitted */
    bool asked;        /* the user has closed the device */
    bool answered;     /* the daemon has answered */
};

struct blkd_device {
    LIST_ENTRY(blkd_device) link; /* under the mutex, as the list */
    struct blkd *connection;      /* this and what follows: constant once it is open */
    struct blkd_config config;    /* as asked; its texts are session.path and `purpose` */
    char *purpose;                /* may be NULL */
    struct session session;
    struct device_closing closing;
};

LIST_HEAD(device_list, blkd_device);

/* A handle that is in no list yet. NULL: no memory. */
struct blkd_device *device_new(struct blkd *connection, struct call_table *calls,
                               const struct blkd_config *config, const char *path);

/* Frees the handle; NULL is allowed. Mutex held if it is in the connection's list. */
void device_free(struct blkd_device *device);

/* The open device of this session or NULL. Mutex held. */
struct blkd_device *device_find(const struct device_list *devices, uint64_t session_number);

/* Begins to close the device: the call goes out when its other calls are done or parked. Returns
 * the call. What comes of it may free the device at once when nobody waits. Mutex held. */
struct call *device_close_start(struct blkd_device *device, struct call_mode mode);

/* One of the device's calls is done; this may free a device that is being closed. Mutex held. */
void device_call_ended(struct blkd_device *device);

#endif
