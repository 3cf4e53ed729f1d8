/* SPDX-License-Identifier: MIT */
/*
 * How a connection gets its rings (rings.h), and when calls take them.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "client/lib/ring/map.h"
#include "client/lib/ring/rings.h"
#include "common/cleanup.h"
#include "common/container.h"
#include "common/limits.h"

/* ---- what the daemon says ---- */

static void rings_fail_backlog(struct rings *rings)
{
    struct call *call;

    while ((call = TAILQ_FIRST(&rings->calls->ring_backlog)) != NULL) {
        call_part_started(call, false);
        call_part_failed(call, call->range.offset_bytes, rings->setup.error, rings->setup.reason);
        call_part_ended(call);
    }
}

/* On a lost connection every call ends anyway, and says why. */
static void rings_refuse(struct rings *rings, int error, const char *reason)
{
    struct rings_setup *setup = &rings->setup;

    setup->state = RINGS_REFUSED;
    setup->error = error;
    (void)snprintf(setup->reason, sizeof(setup->reason), "%s",
                   reason != NULL ? reason : blkd_strerror(error));
    if (!rings->calls->lost)
        rings_fail_backlog(rings);
}

/* One of the answers that READY needs has come. */
static void rings_answered(struct rings *rings, const struct call_result *result)
{
    struct rings_setup *setup = &rings->setup;

    if (setup->state != RINGS_ASKED)
        return;
    if (result->error < 0) {
        rings_refuse(rings, result->error, result->message);
        return;
    }
    setup->answers_awaited--;
    if (setup->answers_awaited == 0)
        setup->state = RINGS_READY;
}

static void on_bounce_answer(struct arenas *bounce, const struct call_result *result)
{
    rings_answered(CONTAINER_OF(bounce, struct rings, bounce), result);
}

/* ---- life ---- */

void rings_init(struct rings *rings, enum blkd_tier tier, struct call_table *calls,
                struct request_table *requests, struct descriptors *descriptors)
{
    rings->calls = calls;
    rings->requests = requests;
    rings->descriptors = descriptors;
    rings->setup = (struct rings_setup){.tier = tier};
    rings->memory = (struct rings_memory){.doorbell = -1};
    arenas_init(&rings->shared, false, calls, descriptors, NULL);
    arenas_init(&rings->bounce, true, calls, descriptors, on_bounce_answer);
}

void rings_deinit(struct rings *rings)
{
    if (rings->memory.base != NULL)
        map_remove(rings->memory.base, rings->memory.layout.size_bytes);
    rings->memory.base = NULL;
    arenas_deinit(&rings->bounce);
    arenas_deinit(&rings->shared);
}

void rings_lose(struct rings *rings)
{
    rings->memory.in_flight = 0;
    if (rings->memory.base == NULL || rings->memory.doorbell < 0)
        return;
    ring_set_moved(rings->memory.base);
    (void)eventfd_write(rings->memory.doorbell, 1);
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

static void setup_take_memory(struct rings_memory *rings, uint8_t *base,
                              const struct ring_layout *layout)
{
    struct ring_words *words = (struct ring_words *)base;
    uint32_t entries = layout->entries;

    rings->base = base;
    rings->layout = *layout;
    ring_producer_init(&rings->submissions, &words[0], base + layout->submissions, entries,
                       sizeof(struct ring_submission));
    ring_consumer_init(&rings->completions, &words[1], base + layout->completions, entries,
                       sizeof(struct ring_completion));
}

static int setup_reply(struct call *call, const Blkd__Reply *reply)
{
    struct rings *rings = call->asked.context;
    struct ring_layout layout;
    CLEANUP_CLOSE int fd = -1;
    void *memory;
    int r;

    if (reply->body_case != BLKD__REPLY__BODY_RING ||
        ring_layout(reply->ring->entries, &layout) < 0 ||
        reply->ring->size_bytes < layout.size_bytes)
        return -EPROTO;
    fd = descriptors_claim(rings->descriptors);
    rings->memory.doorbell = descriptors_claim(rings->descriptors);
    r = map_shared(fd, layout.size_bytes, &memory);
    if (r < 0)
        return r;
    setup_take_memory(&rings->memory, memory, &layout);
    return rings->memory.doorbell >= 0 ? 0 : -EPROTO;
}

static void setup_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "setting up rings in shared memory");
}

static void setup_done(struct call *call)
{
    rings_answered(call->asked.context, &call->result);
}

static const struct operation setup_operation = {
    .build = setup_build,
    .on_reply = setup_reply,
    .describe = setup_describe,
    .on_done = setup_done,
};

static void rings_ask(struct rings *rings)
{
    struct call *setup, *bounce;

    if (!rings->setup.offered) {
        rings_refuse(rings, -EOPNOTSUPP, "this daemon does not offer rings in shared memory");
        return;
    }
    setup = call_new(rings->calls);
    bounce = setup != NULL ? arenas_new_call(&rings->bounce, RINGS_BOUNCE_BYTES) : NULL;
    if (bounce == NULL) {
        if (setup != NULL)
            call_release(setup);
        rings_refuse(rings, -ENOMEM, "not enough memory to set up rings");
        return;
    }
    setup->operation = &setup_operation;
    setup->asked.context = rings;
    rings->setup.state = RINGS_ASKED;
    rings->setup.answers_awaited = 2;
    call_submit(setup);
    call_submit(bounce);
}

int rings_choose(struct rings *rings)
{
    const struct rings_setup *setup = &rings->setup;

    if (rings_ready(rings))
        return 1;
    if (setup->tier == BLKD_TIER_SOCKET)
        return 0;
    if (setup->state == RINGS_NONE)
        rings_ask(rings);
    if (setup->tier == BLKD_TIER_AUTO)
        return 0;
    return setup->state == RINGS_REFUSED ? setup->error : 1;
}
