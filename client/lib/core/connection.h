/* SPDX-License-Identifier: MIT */
/*
 * A connection to the daemon: all that the rooms below have of one, under one mutex. What each part
 * says about threads stands with it; what is constant after blkd_connect is read without the mutex.
 */
#ifndef BLKD_CLIENT_LIB_CORE_CONNECTION_H
#define BLKD_CLIENT_LIB_CORE_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>

#include "client/blkd.h"
#include "client/lib/base/forkguard.h"
#include "client/lib/call/call.h"
#include "client/lib/call/request.h"
#include "client/lib/core/device.h"
#include "client/lib/core/event.h"
#include "client/lib/core/lead.h"
#include "client/lib/core/readiness.h"
#include "client/lib/link/receiver.h"
#include "client/lib/link/sender.h"
#include "client/lib/ring/buffers.h"
#include "client/lib/ring/rings.h"
#include "common/container.h"

/* What both sides say of themselves in the first exchange. Constant after it. */
struct introduction {
    char client_name[65];
    struct blkd_server_info server; /* its texts are the following */
    char server_version[64];
    char server_engine[32];
};

struct blkd {
    pthread_mutex_t mutex;
    struct forkguard forkguard; /* constant */
    int socket;                 /* constant */
    bool send_on_dispatch;      /* constant */
    struct introduction introduction;

    struct call_table calls;
    struct call_list done; /* calls with callbacks to run. Under the mutex */
    struct request_table requests;
    struct sender sender;
    struct receiver receiver;
    struct rings rings;
    struct buffers buffers;
    struct device_list devices; /* under the mutex */
    struct events events;
    struct readiness readiness;
    struct lead lead;
};

/* A connection that has yet to say Hello. Takes over `socket` when it succeeds. 0 or a negative
 * errno. */
int connection_new(const struct blkd_options *options, enum blkd_tier tier, int socket,
                   struct blkd **ret_connection);

/* Frees a connection on which no call is left. */
void connection_free(struct blkd *connection);

/* All that a child of fork can do: its parent's memory may have been copied in the middle of a
 * change. */
void connection_close_descriptors(const struct blkd *connection);

/* Whether the connection is lost; calls.lost_reason tells why. Mutex held. */
static inline bool connection_lost(const struct blkd *connection)
{
    return connection->calls.lost;
}

/* Whose call it is. */
static inline struct blkd *connection_of(const struct call *call)
{
    return CONTAINER_OF(call->table, struct blkd, calls);
}

#endif
