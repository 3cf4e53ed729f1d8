/* SPDX-License-Identifier: MIT */
/* How a connection comes into being: socket, Hello, the daemon's limits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/base/reserved.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/traffic.h"
#include "client/lib/core/verb.h"
#include "client/lib/core/wait.h"
#include "client/lib/link/address.h"
#include "common/limits.h"

enum { CONNECT_TRIES = 3, CONNECT_TIMEOUT_MS = 10000 };

/* ---- Hello ---- */

static void hello_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    struct blkd *connection = connection_of(call);

    (void)part;
    blkd__hello__init(&body->hello);
    body->hello.version = PROTOCOL_VERSION;
    if (connection->rings.setup.tier != BLKD_TIER_SOCKET)
        body->hello.features = BLKD__FEATURE__FEATURE_RING;
    body->hello.client_name = connection->introduction.client_name;
    message->op_case = BLKD__REQUEST__OP_HELLO;
    message->hello = &body->hello;
}

static void hello_take_limits(struct blkd *connection, const Blkd__Limits *limits)
{
    struct request_table *requests = &connection->requests;
    struct blkd_server_info *server = &connection->introduction.server;

    if (limits->max_io_bytes >= SECTOR_SIZE_MAX)
        requests->max_io_bytes =
            limits->max_io_bytes < IO_BYTES_MAX ? limits->max_io_bytes : IO_BYTES_MAX;
    if (limits->max_requests >= 1)
        requests->limit = limits->max_requests < REQUESTS_MAX ? limits->max_requests : REQUESTS_MAX;
    server->max_io_bytes = requests->max_io_bytes;
    server->max_requests = requests->limit;
    server->max_sessions = limits->max_sessions;
}

static void hello_take_server(struct introduction *introduction, const Blkd__HelloReply *hello)
{
    struct blkd_server_info *server = &introduction->server;

    (void)snprintf(introduction->server_version, sizeof(introduction->server_version), "%s",
                   hello->daemon_version);
    (void)snprintf(introduction->server_engine, sizeof(introduction->server_engine), "%s",
                   hello->engine);
    server->version = introduction->server_version;
    server->engine = introduction->server_engine;
    server->workers = hello->workers;
    server->pid = hello->daemon_pid;
    server->busy_poll_us = hello->busy_poll_us;
    server->session_epoch = hello->session_epoch;
    server->connection_number = hello->connection;
    memcpy(server->instance, hello->instance.data, sizeof(server->instance));
}

static int hello_reply(struct call *call, const Blkd__Reply *reply)
{
    struct blkd *connection = connection_of(call);
    const Blkd__HelloReply *hello = reply->hello;

    if (reply->body_case != BLKD__REPLY__BODY_HELLO || hello->version != PROTOCOL_VERSION ||
        hello->limits == NULL ||
        hello->instance.len != sizeof(connection->introduction.server.instance))
        return -EPROTO;
    hello_take_server(&connection->introduction, hello);
    hello_take_limits(connection, hello->limits);
    connection->rings.setup.offered = (hello->features & BLKD__FEATURE__FEATURE_RING) != 0;
    return 0;
}

static void hello_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "handshake with blkd");
}

static const struct operation hello_operation = {
    .build = hello_build,
    .on_reply = hello_reply,
    .describe = hello_describe,
};

static int connect_hello(struct blkd *connection, const char *path, uint64_t deadline_ns)
{
    struct call *call;
    int r = verb_begin(connection, NULL, &hello_operation, CALL_WAITS, &call);

    if (r < 0)
        return r;
    call_submit(call);
    traffic_push(connection);
    r = wait_for_call(connection, call, deadline_ns);
    if (r < 0) {
        r = error_report(-ETIMEDOUT,
                         "connecting to blkd at %s timed out: it accepted the connection "
                         "but did not answer; it is overloaded or stopped",
                         path);
    } else {
        call_tell_message(call);
        r = call->result.error;
        call_release(call);
    }
    pthread_mutex_unlock(&connection->mutex);
    return r;
}

/* $BLKD_TIER, or what the program asks for. */
static int connect_find_tier(const struct blkd_options *options, enum blkd_tier *ret_tier)
{
    const char *name = secure_getenv("BLKD_TIER");

    if (name == NULL || name[0] == '\0')
        *ret_tier = options->tier;
    else if (strcmp(name, "socket") == 0)
        *ret_tier = BLKD_TIER_SOCKET;
    else if (strcmp(name, "ring") == 0)
        *ret_tier = BLKD_TIER_RING;
    else
        return error_report(-EINVAL,
                            "the environment variable BLKD_TIER is \"%s\"; it must be \"socket\" "
                            "or \"ring\", or unset",
                            name);
    return 0;
}

static int connect_check(const struct blkd_options *options)
{
    if (options->tier > BLKD_TIER_RING)
        return error_report(-EINVAL,
                            "blkd_options.tier is %d; it must be BLKD_TIER_AUTO, BLKD_TIER_SOCKET "
                            "or BLKD_TIER_RING",
                            (int)options->tier);
    if (options->busy_poll_us < BLKD_BUSY_POLL_NEVER)
        return error_report(
            -EINVAL,
            "blkd_options.busy_poll_us is %d; it must be 0 or more, or BLKD_BUSY_POLL_NEVER",
            options->busy_poll_us);
    if (options->connect_timeout_ms < -1)
        return error_report(
            -EINVAL,
            "blkd_options.connect_timeout_ms is %d; it must be 0 or more, or -1 for no limit",
            options->connect_timeout_ms);
    return RESERVED_CHECK("blkd_options", options);
}

static int connect_try(const struct blkd_options *options, enum blkd_tier tier,
                       const struct sockaddr_un *address, uint64_t deadline_ns,
                       struct blkd **ret_connection)
{
    struct blkd *connection;
    int socket;
    int r = address_connect(address, deadline_ns, &socket);

    if (r < 0)
        return r;
    r = connection_new(options, tier, socket, &connection);
    if (r < 0) {
        (void)close(socket);
        return error_report(r, "connecting to blkd at %s failed: %s", address->sun_path,
                            blkd_strerror(r));
    }
    r = connect_hello(connection, address->sun_path, deadline_ns);
    if (r < 0) {
        connection_free(connection);
        return r;
    }
    *ret_connection = connection;
    return 0;
}

/* A daemon that stops may take a connection and close it before the first exchange. Nothing has
 * been asked of it by then, so the next one (systemd starts it for the waiting connection) is asked
 * instead. */
static int connect_open(const struct blkd_options *options, enum blkd_tier tier,
                        const struct sockaddr_un *address, struct blkd **ret_connection)
{
    int timeout_ms = options->connect_timeout_ms;
    uint64_t deadline_ns = clock_deadline_ns(timeout_ms != 0 ? timeout_ms : CONNECT_TIMEOUT_MS);
    int r = -ENOTCONN;

    for (int i = 0; i < CONNECT_TRIES && r == -ENOTCONN; i++)
        r = connect_try(options, tier, address, deadline_ns, ret_connection);
    return r;
}

int blkd_connect(const struct blkd_options *options, struct blkd **ret_connection)
{
    static const struct blkd_options defaults = {0};
    struct trace trace = {NULL, 0};
    struct sockaddr_un address;
    enum blkd_tier tier = BLKD_TIER_AUTO;
    int r;

    trace_init();
    if (ret_connection == NULL)
        return error_report(-EINVAL, "cannot connect: ret_connection is NULL");
    if (options == NULL)
        options = &defaults;
    r = connect_check(options);
    if (r == 0)
        r = connect_find_tier(options, &tier);
    if (r == 0)
        r = address_find(options->socket_path, &address);
    if (r < 0)
        return r;
    if (trace_enabled())
        trace_begin(&trace, "connecting to %s", address.sun_path);
    r = connect_open(options, tier, &address, ret_connection);
    trace_end(&trace, r);
    return r;
}
