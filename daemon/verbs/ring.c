/* SPDX-License-Identifier: MIT */
/* Setting up a connection's shared memory: rings and arenas (channel.h). */
#include <errno.h>
#include <string.h>

#include "common/limits.h"
#include "daemon/link/channel.h"
#include "daemon/link/conn.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

enum { ADD_ARENA_SCRATCH = 1 };

int setup_ring_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->setup_ring->entries;
    return 0;
}

int add_arena_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.length_bytes = message->add_arena->size_bytes;
    request->asked.flags = message->add_arena->scratch ? ADD_ARENA_SCRATCH : 0;
    return 0;
}

int remove_arena_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->remove_arena->arena;
    return 0;
}

/* ---- rings ---- */

static void setup_ring_undo(struct request *request)
{
    struct channel *channel = request->conn->channel;
    struct piece *rings = channel->rings;
    atomic_store(&request->conn->shown.has_rings, false);
    channel_unstart(channel);
    piece_give_back(rings);
}

static void setup_ring_answer(struct request *request, struct channel *channel)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__RingReply body = BLKD__RING_REPLY__INIT;
    request_set_undo(request, setup_ring_undo);
    body.entries = channel->layout.entries;
    body.size_bytes = channel->layout.size_bytes;
    reply.body_case = BLKD__REPLY__BODY_RING;
    reply.ring = &body;
    request_reply(request, &reply);
}

static int setup_ring_start(struct request *request, struct piece *piece)
{
    struct channel *channel = request->conn->channel;
    int error = request_attach(request, piece->fd);
    if (error == 0)
        error = channel_start(channel, piece);
    if (error < 0)
        return error;
    return request_attach(request, channel->doorbell_fd);
}

static void on_rings_made(struct piece *piece, void *user_data, int error)
{
    struct request *request = user_data;
    struct conn *conn = request->conn;
    struct channel *channel = conn->channel;
    channel->making = false;
    if (error < 0) {
        request_fail(request, error, "cannot allocate the rings: %s", strerror(-error));
        return;
    }
    error = conn->state == CONN_SERVING ? setup_ring_start(request, piece) : -ESHUTDOWN;
    if (error == 0) {
        atomic_store(&conn->shown.has_rings, true);
        setup_ring_answer(request, channel);
        return;
    }
    channel_unstart(channel); /* it can be asked for again */
    piece_give_back(piece);
    request_fail(request, error, "cannot set up the rings: %s", strerror(-error));
}

/* As many as the client wants and the daemon allows. 0 or -EINVAL. */
static int setup_ring_entries(const struct limits *limits, uint64_t wanted,
                              struct ring_layout *ret_layout)
{
    uint64_t most = RING_ENTRIES_MAX;
    while (most > limits->requests_per_connection && most > RING_ENTRIES_MIN)
        most /= 2;
    if (wanted > most && (wanted & (wanted - 1)) == 0)
        wanted = most;
    return wanted > most ? -EINVAL : ring_layout((uint32_t)wanted, ret_layout);
}

static bool ring_is_offered(struct request *request)
{
    if (request->conn->ring_feature)
        return true;
    request_fail(request, -EOPNOTSUPP,
                 "%s: rings are not available on this connection: Hello did not request them, or "
                 "arena-mib-per-connection is 0",
                 request->operation->name);
    return false;
}

/* Rings and arenas may be asked for in any order, and together. */
static int setup_channel(struct conn *conn)
{
    if (conn->channel == NULL)
        conn->channel = channel_new(conn);
    return conn->channel == NULL ? -ENOMEM : 0;
}

void setup_ring_run(struct request *request)
{
    struct conn *conn = request->conn;
    struct ring_layout layout;
    if (!ring_is_offered(request))
        return;
    if (setup_ring_entries(&conn->worker->server->limits, request->asked.value, &layout) < 0) {
        request_fail(request, -EINVAL, "%llu ring entries: must be a power of two, at least %d",
                     (unsigned long long)request->asked.value, RING_ENTRIES_MIN);
        return;
    }
    if (conn->channel != NULL && (conn->channel->making || conn->channel->rings != NULL)) {
        request_fail(request, -EEXIST, "this connection already has rings");
        return;
    }
    int error = setup_channel(conn);
    if (error == 0)
        error = piece_make(conn->worker, conn->user, &conn->helper_share, layout.size_bytes,
                           on_rings_made, request);
    if (error < 0) {
        request_fail(request, error, "cannot reserve the rings: %s", strerror(-error));
        return;
    }
    conn->channel->layout = layout;
    conn->channel->making = true;
}

/* ---- arenas ---- */

static void add_arena_undo(struct request *request)
{
    struct channel *channel = request->conn->channel;
    channel_forget_arena(channel, channel->arenas[request->asked.value]);
}

static void add_arena_answer(struct request *request, const struct channel_arena *arena)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__ArenaReply body = BLKD__ARENA_REPLY__INIT;
    request_set_undo(request, add_arena_undo);
    body.arena = arena->number;
    body.size_bytes = arena->piece->size_bytes;
    reply.body_case = BLKD__REPLY__BODY_ARENA;
    reply.arena = &body;
    request_reply(request, &reply);
}

static void on_arena_made(struct piece *piece, void *user_data, int error)
{
    struct request *request = user_data;
    struct conn *conn = request->conn;
    struct channel *channel = conn->channel;
    struct channel_arena *arena = channel->arenas[request->asked.value];
    bool made = error == 0;
    if (made && conn->state != CONN_SERVING)
        error = -ESHUTDOWN;
    if (error == 0)
        error = request_attach(request, piece->fd);
    if (error == 0) {
        arena->piece = piece;
        add_arena_answer(request, arena);
        return;
    }
    channel_drop_arena(channel, arena);
    if (made)
        piece_give_back(piece);
    request_fail(request, error, "an arena of %llu bytes: %s",
                 (unsigned long long)request->asked.length_bytes, strerror(-error));
}

static int add_arena_start(struct request *request, uint64_t size_bytes)
{
    struct conn *conn = request->conn;
    struct channel_arena *arena = NULL;
    int error = channel_reserve(conn->channel, size_bytes, &arena);
    if (error < 0)
        return error;
    arena->scratch = (request->asked.flags & ADD_ARENA_SCRATCH) != 0;
    request->asked.value = arena->number;
    error = piece_make(conn->worker, conn->user, &conn->helper_share, size_bytes, on_arena_made,
                       request);
    if (error < 0)
        channel_drop_arena(conn->channel, arena);
    return error;
}

void add_arena_run(struct request *request)
{
    struct conn *conn = request->conn;
    uint64_t size_bytes = request->asked.length_bytes;
    if (!ring_is_offered(request))
        return;
    if (size_bytes == 0 || size_bytes % PIECE_PAGE_BYTES != 0) {
        request_fail(request, -EINVAL,
                     "an arena of %llu bytes: not a multiple of the page size, %d bytes",
                     (unsigned long long)size_bytes, PIECE_PAGE_BYTES);
        return;
    }
    int error = setup_channel(conn);
    if (error == 0)
        error = add_arena_start(request, size_bytes);
    if (error < 0)
        request_fail(request, error,
                     "an arena of %llu bytes: %s (limits: arena-mib-per-connection and "
                     "arena-mib-per-uid in blkd.conf)",
                     (unsigned long long)size_bytes, strerror(-error));
}

void remove_arena_run(struct request *request)
{
    struct channel *channel = request->conn->channel;
    struct channel_arena *arena = NULL;
    if (channel != NULL && request->asked.value < ARENAS_PER_CONNECTION)
        arena = channel_find_arena(channel, (uint32_t)request->asked.value);
    if (arena == NULL) {
        request_fail(request, -EBADF, "this connection has no arena %llu",
                     (unsigned long long)request->asked.value);
        return;
    }
    arena->removal = request;
    if (arena->users == 0)
        request_end_removal(channel, arena);
}
