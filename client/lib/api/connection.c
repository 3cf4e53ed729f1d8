/* SPDX-License-Identifier: MIT */
/* What is asked about a connection, and its end; its beginning is in connect.c. */
#include <errno.h>
#include <stdio.h>

#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/verb.h"

static void disconnect_run_callbacks(struct blkd *connection)
{
    while (dispatch_pending(connection))
        (void)dispatch_run(connection);
}

void blkd_disconnect(struct blkd *connection)
{
    struct trace trace = {NULL, 0};
    struct blkd_device *device;

    if (connection == NULL || dispatch_inside(connection))
        return;
    if (forkguard_tripped(&connection->forkguard)) {
        connection_close_descriptors(connection);
        return;
    }
    if (trace_enabled())
        trace_begin(&trace, "disconnecting");
    pthread_mutex_lock(&connection->mutex);
    connection->events.callback = NULL;
    /* Results that have come; before the daemon takes its memory back. */
    rings_reap(&connection->rings);
    disconnect_run_callbacks(connection);
    call_table_lose(&connection->calls, "the program disconnected");
    disconnect_run_callbacks(connection);
    while ((device = LIST_FIRST(&connection->devices)) != NULL)
        device_free(device);
    pthread_mutex_unlock(&connection->mutex);
    connection_free(connection);
    trace_end(&trace, 0);
}

int blkd_get_server_info(struct blkd *connection, struct blkd_server_info *ret_info)
{
    if (connection == NULL || ret_info == NULL)
        return error_report(-EINVAL, "cannot get information about the daemon: %s is NULL",
                            connection == NULL ? "connection" : "ret_info");
    if (forkguard_tripped(&connection->forkguard))
        return verb_check(connection, CALL_WAITS);
    *ret_info = connection->introduction.server;
    return 0;
}

int blkd_get_fd(const struct blkd *connection)
{
    if (connection == NULL)
        return error_report(-EINVAL,
                            "cannot get the descriptor of a connection: connection is NULL");
    if (forkguard_tripped(&connection->forkguard))
        return verb_check(connection, CALL_WAITS);
    return connection->readiness.epoll_fd;
}

int blkd_set_event_callback(struct blkd *connection, blkd_event_callback *callback, void *user_data)
{
    if (connection == NULL)
        return error_report(-EINVAL, "cannot set the event callback: connection is NULL");
    if (forkguard_tripped(&connection->forkguard))
        return verb_check(connection, CALL_WAITS);
    pthread_mutex_lock(&connection->mutex);
    connection->events.callback = callback;
    connection->events.user_data = user_data;
    pthread_mutex_unlock(&connection->mutex);
    return 0;
}

int blkd_get_tier(struct blkd *connection, enum blkd_tier *ret_tier)
{
    bool by_ring;

    if (connection == NULL || ret_tier == NULL)
        return error_report(-EINVAL, "cannot get the tier: %s is NULL",
                            connection == NULL ? "connection" : "ret_tier");
    if (forkguard_tripped(&connection->forkguard))
        return verb_check(connection, CALL_WAITS);
    pthread_mutex_lock(&connection->mutex);
    by_ring = rings_ready(&connection->rings) || connection->rings.setup.tier == BLKD_TIER_RING;
    pthread_mutex_unlock(&connection->mutex);
    *ret_tier = by_ring ? BLKD_TIER_RING : BLKD_TIER_SOCKET;
    return 0;
}

/* ---- ping ---- */

static void ping_build(const struct call *call, const struct request *part, Blkd__Request *message,
                       union call_body *body)
{
    (void)call;
    (void)part;
    blkd__ping__init(&body->ping);
    message->op_case = BLKD__REQUEST__OP_PING;
    message->ping = &body->ping;
}

static void ping_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "pinging blkd");
}

static const struct operation ping_operation = {
    .build = ping_build,
    .describe = ping_describe,
};

static int ping_run(struct blkd *connection, struct call_mode mode)
{
    struct call *call;
    int r;

    if (connection == NULL)
        return error_report(-EINVAL, "cannot ping: connection is NULL");
    r = verb_begin(connection, NULL, &ping_operation, mode, &call);
    return r < 0 ? r : verb_run(call);
}

int blkd_ping(struct blkd *connection)
{
    return ping_run(connection, CALL_WAITS);
}

int blkd_ping_async(struct blkd *connection, blkd_callback *callback, void *user_data)
{
    return ping_run(connection, CALL_BACK(callback, user_data));
}
