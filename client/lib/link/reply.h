/* SPDX-License-Identifier: MIT */
/*
 * What a reply of the daemon means for the request that it answers, if it answers one. With the
 * connection's mutex held.
 */
#ifndef BLKD_CLIENT_LIB_LINK_REPLY_H
#define BLKD_CLIENT_LIB_LINK_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/call/call.h"
#include "client/lib/call/request.h"
#include "proto/blkd.pb-c.h"

/* Constant. */
struct replies {
    struct call_table *calls;
    struct request_table *requests;
    /* The daemon tells of something that nobody asked for; `message` is valid until it returns. */
    void (*on_event)(struct call_table *calls, const Blkd__Event *message);
};

/* Takes in a reply that `payload_bytes` of payload follow. *ret_target: the request that they
 * belong to, for which reply_finish is called when they have come; NULL: there are none. False: the
 * connection is lost by it. */
bool reply_take(const struct replies *replies, const Blkd__Reply *reply, uint32_t payload_bytes,
                struct request **ret_target);

/* The answer to a request is complete. */
void reply_finish(const struct replies *replies, struct request *request);

#endif
