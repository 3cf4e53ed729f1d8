/* SPDX-License-Identifier: MIT */
/* See connection.h. */
#include "client/lib/core/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/lib/core/notice.h"
#include "common/limits.h"
#include "common/standard.h"

/* ---- what the rooms below tell; mutex held ---- */

static void on_call_done(struct call_table *calls, struct call *call)
{
    struct blkd *connection = CONTAINER_OF(calls, struct blkd, calls);

    if (call->session != NULL)
        device_call_ended(CONTAINER_OF(call->session, struct blkd_device, session));
    if (call->waiter != NULL)
        pthread_cond_signal(call->waiter);
    if (call->mode.waits)
        return;
    if (call->mode.callback != NULL)
        TAILQ_INSERT_TAIL(&connection->done, call, link);
    else
        call_release(call);
}

/* Before the daemon hears that the connection has ended, and before anybody hears the end of a
 * call: from then on it may take its pages back, and the program may rely on what is in its
 * buffers. */
static void connection_move_buffers(struct blkd *connection)
{
    struct call_table *calls = &connection->calls;
    int error = buffers_move(&connection->buffers, &connection->rings.shared.set);
    size_t length = strlen(calls->lost_reason);

    rings_lose(&connection->rings);
    if (error < 0)
        (void)snprintf(calls->lost_reason + length, sizeof(calls->lost_reason) - length,
                       "; the contents of its shared buffers may be lost: %s",
                       blkd_strerror(error));
}

static void on_lost(struct call_table *calls)
{
    static const struct blkd_event disconnected = {
        .type = BLKD_EVENT_DISCONNECTED,
        .error = -ENOTCONN,
    };
    struct blkd *connection = CONTAINER_OF(calls, struct blkd, calls);

    readiness_drop(&connection->readiness, connection->socket);
    connection_move_buffers(connection);
    (void)shutdown(connection->socket, SHUT_RDWR);
    sender_lose(&connection->sender);
    receiver_lose(&connection->receiver);
    request_table_clear(&connection->requests);
    call_fail_all(&connection->calls);
    event_put(&connection->events, 0, &disconnected);
}

static void on_event(struct call_table *calls, const Blkd__Event *message)
{
    struct blkd *connection = CONTAINER_OF(calls, struct blkd, calls);

    notice_received(&connection->events, &connection->devices, message);
}

/* ---- life ---- */

void connection_close_descriptors(const struct blkd *connection)
{
    const int fds[] = {connection->lead.kick_fd, connection->socket,
                       connection->rings.memory.doorbell};

    readiness_close(&connection->readiness);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    for (size_t i = 0; i < ARENAS_PER_CONNECTION; i++) {
        const struct arena *arena = &connection->rings.shared.set.arenas[i];

        if (arena->base != NULL && arena->fd > STDERR_FILENO)
            (void)close(arena->fd);
    }
}

void connection_free(struct blkd *connection)
{
    connection_close_descriptors(connection);
    request_table_deinit(&connection->requests);
    receiver_deinit(&connection->receiver);
    call_table_deinit(&connection->calls);
    rings_deinit(&connection->rings);
    buffers_deinit(&connection->buffers);
    event_deinit(&connection->events);
    forkguard_deinit(&connection->forkguard);
    (void)pthread_mutex_destroy(&connection->mutex);
    free(connection);
}

static uint64_t connection_spin_ns(int busy_poll_us)
{
    if (busy_poll_us == BLKD_BUSY_POLL_NEVER)
        return 0;
    if (busy_poll_us == BLKD_BUSY_POLL_DEFAULT)
        busy_poll_us = BUSY_POLL_US_DEFAULT;
    if (busy_poll_us > BUSY_POLL_US_MAX)
        busy_poll_us = BUSY_POLL_US_MAX;
    return spin_max_ns((uint32_t)busy_poll_us);
}

/* What cannot fail. */
static void connection_init(struct blkd *connection, const struct blkd_options *options,
                            enum blkd_tier tier)
{
    static const struct call_owner owner = {.on_done = on_call_done, .on_lost = on_lost};
    struct introduction *introduction = &connection->introduction;

    (void)pthread_mutex_init(&connection->mutex, NULL);
    connection->send_on_dispatch = options->send_on_dispatch;
    (void)snprintf(introduction->client_name, sizeof(introduction->client_name), "%s",
                   options->client_name != NULL ? options->client_name
                                                : program_invocation_short_name);
    call_table_init(&connection->calls, &owner);
    TAILQ_INIT(&connection->done);
    sender_init(&connection->sender, connection->socket, &connection->calls, &connection->requests);
    rings_init(&connection->rings, tier, &connection->calls, &connection->requests,
               &connection->receiver.descriptors);
    buffers_init(&connection->buffers);
    LIST_INIT(&connection->devices);
    event_init(&connection->events);
    readiness_init(&connection->readiness);
    lead_init(&connection->lead, connection_spin_ns(options->busy_poll_us));
}

static int connection_open(struct blkd *connection)
{
    const struct replies replies = {&connection->calls, &connection->requests, on_event};
    int r = readiness_open(&connection->readiness, connection->socket);

    if (r == 0) {
        connection->lead.kick_fd = standard_lift(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        r = connection->lead.kick_fd < 0 ? -errno : 0;
    }
    if (r == 0)
        r = forkguard_init(&connection->forkguard);
    if (r == 0)
        r = request_table_init(&connection->requests);
    if (r == 0)
        r = receiver_init(&connection->receiver, connection->socket, &replies);
    return r;
}

int connection_new(const struct blkd_options *options, enum blkd_tier tier, int socket,
                   struct blkd **ret_connection)
{
    struct blkd *connection = calloc(1, sizeof(*connection));
    int r;

    if (connection == NULL)
        return -ENOMEM;
    connection->socket = socket;
    connection_init(connection, options, tier);
    r = connection_open(connection);
    if (r < 0) {
        connection->socket = -1; /* stays the caller's */
        connection_free(connection);
        return r;
    }
    *ret_connection = connection;
    return 0;
}
