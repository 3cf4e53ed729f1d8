/* SPDX-License-Identifier: MIT */
/*
 * What a reply of the daemon means for the request that it answers, if it answers one.
 */
#ifndef BLKD_CLIENT_LIB_LINK_REPLY_H
#define BLKD_CLIENT_LIB_LINK_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/blkd.pb-c.h"

struct blkd;
struct request;

/* Takes in a reply that `payload_bytes` of payload follow. False: the connection is lost by it.
 * Mutex held. */
bool reply_take(struct blkd *connection, const Blkd__Reply *reply, uint32_t payload_bytes);

/* The answer to a request is complete. Mutex held. */
void reply_finish(struct blkd *connection, struct request *request);

#endif
