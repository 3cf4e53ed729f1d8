/* SPDX-License-Identifier: MIT */
/*
 * What the daemon tells about devices, from the wire's messages to the public structs.
 */
#ifndef BLKD_CLIENT_LIB_API_INFO_H
#define BLKD_CLIENT_LIB_API_INFO_H

#include "client/blkd.h"
#include "proto/blkd.pb-c.h"

void info_from_wire(const Blkd__Info *message, struct blkd_info *ret_info);

/* `message` may be NULL. */
struct blkd_counters info_counters(const Blkd__Counters *message);
struct blkd_sync_state info_sync_state(const Blkd__SyncState *message);

#endif
