/* SPDX-License-Identifier: MIT */
/*
 * What a device reads is what was written through others that share bytes with it (contract S4):
 * for whoever has just locked it exclusively. Their caches are written back and dropped, and its
 * own is, because each has one of its own. Only if there is a doubt: nothing is done for a device
 * that shares no bytes, nor again while nobody else could write them.
 */
#ifndef BLKD_DAEMON_DEVICE_REFRESH_H
#define BLKD_DAEMON_DEVICE_REFRESH_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/device/flush.h"
#include "daemon/storage/backend.h"

struct device;

struct refresh {
    struct io_loop *loop;
    struct helper_share *user_share;          /* outlasts on_done; may be NULL */
    void (*on_done)(struct refresh *refresh); /* on `loop` */

    struct device *device;
    uint64_t doubts; /* relations_doubts when it began */
    struct flush flush;
    struct io io;
};

/* True: refresh->on_done will tell when it is done; perhaps before this returns. False: there is
 * nothing to do. The caller has a session of the device. Without any device's mutex. */
bool refresh_begin(struct device *device, struct refresh *refresh);

#endif
