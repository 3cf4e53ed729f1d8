/* SPDX-License-Identifier: MIT */
/* From a submission, which the client may be changing at this moment, to a request. */
#include <errno.h>
#include <sys/uio.h>

#include "daemon/link/channel.h"
#include "daemon/link/conn.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/request.h"
#include "daemon/link/request_pool.h"

enum {
    /* A channel gives the others their turn after so many submissions. */
    CHANNEL_TURN = 32,
    /* A turn of large transfers, which may all be done inline, ends after so much of that. */
    CHANNEL_TURN_WEIGHT = 64,
};

static bool channel_transfers(unsigned int operation)
{
    return operation == RING_READ || operation == RING_WRITE;
}

/* The arena's memory, or NULL after the submission has been refused. */
static uint8_t *channel_locate(struct channel *channel, struct request *request,
                               const struct ring_submission *entry)
{
    struct channel_arena *arena = channel_find_arena(channel, entry->arena);
    if (arena != NULL && entry->length_bytes <= arena->piece->size_bytes &&
        entry->memory_offset <= arena->piece->size_bytes - entry->length_bytes) {
        request->ring.arena = arena;
        arena->users++;
        return arena->piece->base + entry->memory_offset;
    }
    request_fail(request, -EFAULT, "%s of %llu bytes: not within arena %u at offset %llu",
                 request->operation->name, (unsigned long long)entry->length_bytes, entry->arena,
                 (unsigned long long)entry->memory_offset);
    return NULL;
}

/* What the socket's frames cannot say, or what their decoding checks. False: refused. */
static bool channel_check(struct request *request, const struct ring_submission *entry)
{
    bool has_flags = entry->operation == RING_WRITE || entry->operation == RING_WRITE_ZEROES;
    if (request->operation == NULL)
        request_fail(request, -EOPNOTSUPP, "unknown ring operation %u", entry->operation);
    else if (entry->reserved != 0)
        request_fail(request, -EINVAL, "%s: the reserved member is not 0",
                     request->operation->name);
    else if (entry->flags != 0 && !has_flags)
        request_fail(request, -EINVAL, "%s: this operation has no flags", request->operation->name);
    else if (channel_transfers(entry->operation) && entry->length_bytes > IO_BYTES_MAX)
        request_fail(
            request, -EINVAL, "%s of %llu bytes: longer than the maximum, %d bytes; split it",
            request->operation->name, (unsigned long long)entry->length_bytes, IO_BYTES_MAX);
    else
        return true;
    return false;
}

static void channel_run(struct channel *channel, struct request *request,
                        const struct ring_submission *entry)
{
    request->operation =
        dispatch_find_ring(channel->conn->worker->server->operations, entry->operation);
    request->id = entry->id;
    request->asked.session = entry->session;
    request->asked.offset_bytes = entry->offset_bytes;
    request->asked.length_bytes = entry->length_bytes;
    request->asked.transfer_end_bytes = entry->transfer_end_bytes;
    request->asked.flags = entry->flags;
    if (!channel_check(request, entry))
        return;
    if (channel_transfers(entry->operation)) {
        uint8_t *memory = channel_locate(channel, request, entry);
        if (memory == NULL) /* refused, and gone */
            return;
        request->ring.memory = memory;
    }
    dispatch_run(request);
}

/* Verbs are done elsewhere, and what is too large not at all. */
static unsigned int channel_weigh_entry(const struct ring_submission *entry)
{
    bool inside = channel_transfers(entry->operation) && entry->length_bytes <= IO_BYTES_MAX;
    return channel_weigh(inside ? entry->length_bytes : 0);
}

/* False: the connection is refused, or nothing more is to be taken now. */
static bool channel_take(struct channel *channel)
{
    struct conn *conn = channel->conn;
    struct ring_submission entry;
    uint32_t room = 0;
    int error = ring_producer_room(&channel->completions, channel->in_flight + 1, &room);
    if (error < 0 || room <= channel->in_flight) {
        channel->misused = true;
        conn_refuse(conn, -EPROTO,
                    error < 0 ? "invalid head of the completion ring"
                              : "more submissions are outstanding than the ring has entries");
        return false;
    }
    struct request *request = request_pool_get(&conn->worker->memory);
    if (request == NULL) {
        conn_refuse(conn, -ENOMEM, "out of memory");
        return false;
    }
    (void)ring_consumer_take(&channel->submissions, &entry);
    request->conn = conn;
    request->ring.channel = channel;
    channel->in_flight++;
    conn->requests.count++;
    conn->worker->rings.since_look += channel_weigh_entry(&entry);
    channel_run(channel, request, &entry);
    return true;
}

bool channel_poll(struct channel *channel)
{
    struct conn *conn = channel->conn;
    uint32_t ready = 0;
    int error = ring_consumer_look(&channel->submissions, &ready);
    if (error < 0) {
        channel->misused = true;
        conn_refuse(conn, -EPROTO, "invalid tail of the submission ring");
        return true;
    }
    if (ready == 0)
        return false;
    conn->worker->polling.activity++;
    channel->busy_ns = conn->worker->rings.looked_ns;
    const unsigned int end = conn->worker->rings.since_look + CHANNEL_TURN_WEIGHT;
    for (uint32_t taken = 0;
         taken < ready && taken < CHANNEL_TURN && conn->worker->rings.since_look < end; taken++) {
        if (!conn_has_room(conn)) {
            channel_hold(channel);
            break;
        }
        if (!channel_take(channel) || conn->state != CONN_SERVING)
            return true;
    }
    ring_consumer_release(&channel->submissions);
    return true;
}
