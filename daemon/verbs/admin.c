/* SPDX-License-Identifier: MIT */
/* Requests about the connection itself: the first exchange, and the one that only measures. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/text.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int hello_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Hello *hello = message->hello;
    struct conn *conn = request->conn;
    size_t length = strnlen(hello->client_name, CLIENT_NAME_MAX);
    request->asked.value = hello->version;
    conn->ring_feature = (hello->features & BLKD__FEATURE__FEATURE_RING) != 0 &&
                         conn->worker->server->limits.arena_mib_per_connection > 0;
    (void)memcpy(conn->client_name, hello->client_name, length);
    conn->client_name[length] = '\0';
    text_make_utf8(conn->client_name);
    return 0;
}

static void hello_log(const struct conn *conn)
{
    struct log_line line;
    if (!log_enabled(LOG_LEVEL_DEBUG))
        return;
    log_begin(&line, LOG_LEVEL_DEBUG, "connection-opened");
    log_number(&line, "connection", conn->number);
    peer_log(&conn->peer, &line);
    log_text(&line, "client", conn->client_name);
    log_end(&line);
}

void hello_run(struct request *request)
{
    struct conn *conn = request->conn;
    const struct server *server = conn->worker->server;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__HelloReply body = BLKD__HELLO_REPLY__INIT;
    Blkd__Limits limits = BLKD__LIMITS__INIT;

    if (request->asked.value != PROTOCOL_VERSION) {
        uint64_t version = request->asked.value;
        request_finish(request, -EPROTO);
        conn_refuse(conn, -EPROTO,
                    "unsupported protocol version %llu; this daemon supports version %d: update "
                    "whichever is older, client or daemon",
                    (unsigned long long)version, PROTOCOL_VERSION);
        return;
    }
    conn->state = CONN_SERVING;
    hello_log(conn);
    limits.max_io_bytes = IO_BYTES_MAX;
    limits.max_header_bytes = FRAME_HEADER_MAX;
    limits.max_requests = server->limits.requests_per_connection;
    limits.max_sessions = server->limits.sessions_per_connection;
    body.version = PROTOCOL_VERSION;
    body.features = conn->ring_feature ? BLKD__FEATURE__FEATURE_RING : 0;
    body.limits = &limits;
    body.instance.data = (uint8_t *)(uintptr_t)server->instance;
    body.instance.len = SERVER_INSTANCE_BYTES;
    body.session_epoch = server->session_epoch;
    body.daemon_version = (char *)(uintptr_t)server->version;
    body.engine = (char *)(uintptr_t)server->engine_name;
    body.workers = server->worker_count;
    body.daemon_pid = (uint32_t)getpid();
    body.connection = conn->number;
    body.busy_poll_us = server->limits.busy_poll_us;
    reply.body_case = BLKD__REPLY__BODY_HELLO;
    reply.hello = &body;
    request_reply(request, &reply);
}

int ping_prepare(struct request *request, const Blkd__Request *message)
{
    (void)request;
    (void)message;
    return 0;
}

void ping_run(struct request *request)
{
    request_finish(request, 0);
}
