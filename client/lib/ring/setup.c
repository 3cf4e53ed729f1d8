/* SPDX-License-Identifier: MIT */
/*
 * How a connection gets its rings (ring.h), and when calls take them.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "client/lib/call/call.h"
#include "client/lib/core/connection.h"
#include "client/lib/link/receiver.h"
#include "client/lib/ring/rings.h"
#include "common/limits.h"

void rings_init(struct rings *rings, enum blkd_tier tier)
{
    *rings = (struct rings){.tier = tier, .doorbell = -1};
    arena_set_init(&rings->bounce);
}

void rings_deinit(struct rings *rings)
{
    if (rings->memory != NULL)
        ring_unmap(rings->memory, rings->layout.size_bytes);
    rings->memory = NULL;
    arena_set_deinit(&rings->bounce, ring_unmap);
}

void rings_lose(struct rings *rings)
{
    rings->in_flight = 0;
}

/* ---- what the daemon says ---- */

static void rings_fail_backlog(struct blkd *connection)
{
    const struct rings *rings = &connection->rings;
    struct call *call;

    while ((call = TAILQ_FIRST(&connection->calls.ring_backlog)) != NULL) {
        call_part_started(call, false);
        call_part_failed(call, call->offset_bytes, rings->error, rings->reason);
        call_part_ended(call);
    }
}

/* On a lost connection every call ends anyway, and says why. */
static void rings_refuse(struct blkd *connection, int error, const char *reason)
{
    struct rings *rings = &connection->rings;

    rings->state = RINGS_REFUSED;
    rings->error = error;
    (void)snprintf(rings->reason, sizeof(rings->reason), "%s",
                   reason != NULL ? reason : blkd_strerror(error));
    if (!connection->lost)
        rings_fail_backlog(connection);
}

void rings_answered(struct blkd *connection, int error, const char *reason)
{
    struct rings *rings = &connection->rings;

    if (rings->state != RINGS_ASKED)
        return;
    if (error < 0) {
        rings_refuse(connection, error, reason);
        return;
    }
    rings->answers_awaited--;
    if (rings->answers_awaited == 0)
        rings->state = RINGS_READY;
}

/* ---- SetupRing ---- */

static void setup_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)call;
    (void)part;
    blkd__setup_ring__init(&body->setup_ring);
    body->setup_ring.entries = RING_ENTRIES_DEFAULT;
    message->op_case = BLKD__REQUEST__OP_SETUP_RING;
    message->setup_ring = &body->setup_ring;
}

static void setup_take_memory(struct rings *rings, uint8_t *memory)
{
    struct ring_words *words = (struct ring_words *)memory;
    uint32_t entries = rings->layout.entries;

    rings->memory = memory;
    ring_producer_init(&rings->submissions, &words[0], memory + rings->layout.submissions, entries,
                       sizeof(struct ring_submission));
    ring_consumer_init(&rings->completions, &words[1], memory + rings->layout.completions, entries,
                       sizeof(struct ring_completion));
}

static int setup_reply(struct call *call, const Blkd__Reply *reply)
{
    struct rings *rings = &call->connection->rings;
    struct descriptors *descriptors = &call->connection->receiver.descriptors;
    struct ring_layout layout;
    void *memory;
    int fd, r;

    if (reply->body_case != BLKD__REPLY__BODY_RING ||
        ring_layout(reply->ring->entries, &layout) < 0 ||
        reply->ring->size_bytes < layout.size_bytes)
        return -EPROTO;
    fd = descriptors_claim(descriptors);
    rings->doorbell = descriptors_claim(descriptors);
    r = ring_map(fd, layout.size_bytes, &memory);
    if (r < 0)
        return r;
    rings->layout = layout;
    setup_take_memory(rings, memory);
    return rings->doorbell >= 0 ? 0 : -EPROTO;
}

static void setup_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "setting up rings in shared memory");
}

static void setup_done(struct call *call)
{
    rings_answered(call->connection, call->result, call->message);
}

static const struct operation setup_operation = {
    .build = setup_build,
    .on_reply = setup_reply,
    .describe = setup_describe,
    .on_done = setup_done,
};

static void rings_ask(struct blkd *connection)
{
    struct rings *rings = &connection->rings;
    struct call *setup, *bounce;

    if (!rings->offered) {
        rings_refuse(connection, -EOPNOTSUPP, "this daemon has no rings in shared memory");
        return;
    }
    setup = call_new(connection);
    bounce = setup != NULL ? ring_new_bounce_call(connection) : NULL;
    if (bounce == NULL) {
        if (setup != NULL)
            call_release(setup);
        rings_refuse(connection, -ENOMEM, "no memory for setting up rings");
        return;
    }
    setup->operation = &setup_operation;
    rings->state = RINGS_ASKED;
    rings->answers_awaited = 2;
    call_submit(setup);
    call_submit(bounce);
}

int rings_choose(struct blkd *connection)
{
    struct rings *rings = &connection->rings;

    if (rings_ready(rings))
        return 1;
    if (rings->tier == BLKD_TIER_SOCKET)
        return 0;
    if (rings->state == RINGS_NONE)
        rings_ask(connection);
    if (rings->tier == BLKD_TIER_AUTO)
        return 0;
    return rings->state == RINGS_REFUSED ? rings->error : 1;
}
