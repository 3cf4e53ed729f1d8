/* SPDX-License-Identifier: MIT */
/* See connect.h. */
#include "client/lib/api/connect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/link/address.h"
#include "client/lib/link/sender.h"
#include "common/limits.h"

enum { CONNECT_TRIES = 3 };

void connect_close_descriptors(const struct blkd *connection)
{
    const int fds[] = {connection->epoll_fd, connection->event_fd, connection->kick_fd,
                       connection->socket, connection->rings.doorbell};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
}

void connect_free(struct blkd *connection)
{
    connect_close_descriptors(connection);
    request_table_deinit(&connection->requests);
    receiver_deinit(&connection->receiver);
    call_table_deinit(&connection->calls);
    rings_deinit(&connection->rings);
    arena_set_deinit(&connection->arenas, ring_unmap);
    buffers_deinit(&connection->buffers);
    event_queue_clear(&connection->events);
    forkguard_deinit(&connection->forkguard);
    (void)pthread_mutex_destroy(&connection->mutex);
    free(connection);
}

static int connect_watch(const struct blkd *connection, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(connection->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int connect_init_descriptors(struct blkd *connection)
{
    int r;

    connection->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connection->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    connection->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (connection->epoll_fd < 0 || connection->event_fd < 0 || connection->kick_fd < 0)
        return -errno;
    r = connect_watch(connection, connection->event_fd);
    return r < 0 ? r : connect_watch(connection, connection->socket);
}

static uint64_t connect_spin_ns(int busy_poll_us)
{
    if (busy_poll_us == BLKD_BUSY_POLL_DEFAULT)
        busy_poll_us = BUSY_POLL_US_DEFAULT;
    if (busy_poll_us > BUSY_POLL_US_MAX)
        busy_poll_us = BUSY_POLL_US_MAX;
    return spin_max_ns((uint32_t)busy_poll_us);
}

/* Takes over `socket` when it succeeds. */
static int connect_new(const struct blkd_options *options, enum blkd_tier tier, int socket,
                       struct blkd **ret_connection)
{
    struct blkd *connection = calloc(1, sizeof(*connection));
    int r;

    if (connection == NULL)
        return -ENOMEM;
    connection->epoll_fd = connection->event_fd = connection->kick_fd = -1;
    connection->socket = socket;
    connection->send_on_dispatch = options->send_on_dispatch;
    (void)pthread_mutex_init(&connection->mutex, NULL);
    TAILQ_INIT(&connection->waiters);
    LIST_INIT(&connection->devices);
    STAILQ_INIT(&connection->events);
    call_table_init(&connection->calls);
    sender_init(&connection->sender);
    rings_init(&connection->rings, tier);
    arena_set_init(&connection->arenas);
    buffers_init(&connection->buffers);
    spin_init(&connection->spin, connect_spin_ns(options->busy_poll_us));
    (void)snprintf(connection->client_name, sizeof(connection->client_name), "%s",
                   options->client_name != NULL ? options->client_name
                                                : program_invocation_short_name);
    r = connect_init_descriptors(connection);
    if (r == 0)
        r = forkguard_init(&connection->forkguard);
    if (r == 0)
        r = request_table_init(&connection->requests);
    if (r == 0)
        r = receiver_init(&connection->receiver);
    if (r < 0) {
        connection->socket = -1;
        connect_free(connection);
        return r;
    }
    *ret_connection = connection;
    return 0;
}

/* ---- Hello ---- */

static void hello_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__hello__init(&body->hello);
    body->hello.version = PROTOCOL_VERSION;
    if (call->connection->rings.tier != BLKD_TIER_SOCKET)
        body->hello.features = BLKD__FEATURE__FEATURE_RING;
    body->hello.client_name = call->connection->client_name;
    message->op_case = BLKD__REQUEST__OP_HELLO;
    message->hello = &body->hello;
}

static void hello_take_limits(struct blkd *connection, const Blkd__Limits *limits)
{
    struct request_table *requests = &connection->requests;

    if (limits->max_io_bytes >= SECTOR_SIZE_MAX)
        requests->max_io_bytes =
            limits->max_io_bytes < IO_BYTES_MAX ? limits->max_io_bytes : IO_BYTES_MAX;
    if (limits->max_requests >= 1)
        requests->limit = limits->max_requests < REQUESTS_MAX ? limits->max_requests : REQUESTS_MAX;
    connection->server.max_io_bytes = requests->max_io_bytes;
    connection->server.max_requests = requests->limit;
    connection->server.max_sessions = limits->max_sessions;
}

static int hello_reply(struct call *call, const Blkd__Reply *reply)
{
    struct blkd *connection = call->connection;
    struct blkd_server_info *server = &connection->server;
    const Blkd__HelloReply *hello = reply->hello;

    if (reply->body_case != BLKD__REPLY__BODY_HELLO || hello->version != PROTOCOL_VERSION ||
        hello->limits == NULL || hello->instance.len != sizeof(server->instance))
        return -EPROTO;
    (void)snprintf(connection->server_version, sizeof(connection->server_version), "%s",
                   hello->daemon_version);
    (void)snprintf(connection->server_engine, sizeof(connection->server_engine), "%s",
                   hello->engine);
    server->version = connection->server_version;
    server->engine = connection->server_engine;
    server->workers = hello->workers;
    server->pid = hello->daemon_pid;
    server->busy_poll_us = hello->busy_poll_us;
    server->session_epoch = hello->session_epoch;
    server->connection_number = hello->connection;
    memcpy(server->instance, hello->instance.data, sizeof(server->instance));
    connection->rings.offered = (hello->features & BLKD__FEATURE__FEATURE_RING) != 0;
    hello_take_limits(connection, hello->limits);
    return 0;
}

static void hello_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "the first exchange with blkd");
}

static const struct operation hello_operation = {
    .build = hello_build,
    .on_reply = hello_reply,
    .describe = hello_describe,
};

static int connect_hello(struct blkd *connection, const char *path, uint64_t deadline_ns)
{
    struct call *call;
    int r = call_begin(connection, NULL, &hello_operation, CALL_WAITS, &call);

    if (r < 0)
        return r;
    call_submit(call);
    sender_push(connection);
    r = wait_for_call(call, deadline_ns);
    if (r < 0) {
        r = error_report(-ETIMEDOUT,
                         "connecting to blkd at %s: it took the connection but did not "
                         "answer in time: it is overloaded or stopped",
                         path);
    } else {
        call_tell_message(call);
        r = call->result;
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
                            "the environment variable BLKD_TIER is \"%s\", but may be \"socket\" "
                            "or \"ring\" only, or not be set",
                            name);
    return 0;
}

static int connect_check(const struct blkd_options *options)
{
    if (options->tier > BLKD_TIER_RING)
        return error_report(-EINVAL,
                            "blkd_options.tier is %d, which is none of BLKD_TIER_AUTO, "
                            "BLKD_TIER_SOCKET and BLKD_TIER_RING",
                            (int)options->tier);
    if (options->busy_poll_us < BLKD_BUSY_POLL_DEFAULT)
        return error_report(-EINVAL, "blkd_options.busy_poll_us is %d microseconds",
                            options->busy_poll_us);
    if (options->connect_timeout_ms < -1)
        return error_report(-EINVAL, "blkd_options.connect_timeout_ms is %d milliseconds",
                            options->connect_timeout_ms);
    return 0;
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
    r = connect_new(options, tier, socket, &connection);
    if (r < 0) {
        (void)close(socket);
        return error_report(r, "connecting to blkd at %s failed: %s", address->sun_path,
                            blkd_strerror(r));
    }
    r = connect_hello(connection, address->sun_path, deadline_ns);
    if (r < 0) {
        connect_free(connection);
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
    uint64_t deadline_ns = clock_deadline_ns(options->connect_timeout_ms);
    int r = -ENOTCONN;

    for (int i = 0; i < CONNECT_TRIES && r == -ENOTCONN; i++)
        r = connect_try(options, tier, address, deadline_ns, ret_connection);
    return r;
}

int blkd_connect(const struct blkd_options *options, struct blkd **ret_connection)
{
    static const struct blkd_options defaults = BLKD_OPTIONS_INIT;
    struct sockaddr_un address;
    enum blkd_tier tier;
    int r;

    if (ret_connection == NULL)
        return error_report(-EINVAL, "connecting without a place for the connection");
    if (options == NULL)
        options = &defaults;
    r = connect_check(options);
    if (r == 0)
        r = connect_find_tier(options, &tier);
    if (r == 0)
        r = address_find(options->socket_path, &address);
    return r < 0 ? r : connect_open(options, tier, &address, ret_connection);
}
