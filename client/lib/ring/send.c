/* SPDX-License-Identifier: MIT */
/*
 * The way out by ring: parts of calls become submissions. Each names memory that is contiguous and
 * shared: the program's own where that is so, else pages of the bounce arena.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "client/lib/ring/rings.h"

/* What the next part of a transfer takes, and where the daemon finds it. */
struct ring_part {
    uint32_t length_bytes;
    uint8_t *bounce; /* NULL: the program's memory itself */
    struct arena_place place;
};

static uint32_t part_most(const struct rings *rings, const struct call *call)
{
    uint32_t most = rings->requests->max_io_bytes;
    uint64_t left = call->range.length_bytes - call->progress.started_bytes;

    if (left < most)
        return (uint32_t)left;
    return most - most % call->session->sector_size;
}

/* How much, up to `most`, is better copied than named: up to the next long run of shared memory. */
static uint32_t part_gather(struct rings *rings, const struct call *call, uint32_t most)
{
    uint32_t sector_size = call->session->sector_size;
    struct cursor cursor = call->progress.cursor;
    struct arena_place place;
    size_t foreign;
    size_t bytes = 0;

    if (most > RINGS_BOUNCE_PART_BYTES)
        most = RINGS_BOUNCE_PART_BYTES;
    while (bytes < most) {
        uint8_t *run;
        size_t length = cursor_run(&cursor, most - bytes, &run);
        size_t shared = arena_find(&rings->shared.set, run, length, &place, &foreign);

        if (shared >= RINGS_COPY_BYTES && bytes > 0 && bytes % sector_size == 0)
            break;
        length = shared > 0 ? shared : foreign;
        cursor_advance(&cursor, length);
        bytes += length;
    }
    return (uint32_t)bytes;
}

/* False: there is no bounce memory now. */
static bool part_bounce(struct rings *rings, const struct call *call, uint32_t most,
                        struct ring_part *ret_part)
{
    struct arena_set *bounce = &rings->bounce.set;
    uint32_t length = part_gather(rings, call, most);
    uint8_t *pages = arena_alloc(bounce, length);

    if (pages == NULL)
        return false;
    *ret_part = (struct ring_part){
        .length_bytes = length,
        .bounce = pages,
        .place = {bounce->arenas[0].number, (uint64_t)(pages - bounce->arenas[0].base)},
    };
    if (call->operation->payload == CALL_PAYLOAD_OUT) {
        struct cursor cursor = call->progress.cursor;
        cursor_drain(&cursor, pages, length);
    }
    return true;
}

static bool part_find(struct rings *rings, const struct call *call, struct ring_part *ret_part)
{
    struct ring_part part = {0};
    uint32_t most;
    uint8_t *run;
    size_t length, foreign;

    if (call->operation->payload == CALL_PAYLOAD_NONE) {
        *ret_part = part;
        return true;
    }
    most = part_most(rings, call);
    length = cursor_run(&call->progress.cursor, most, &run);
    length = arena_find(&rings->shared.set, run, length, &part.place, &foreign);
    length -= length % call->session->sector_size;
    if (length == 0 || (length < RINGS_COPY_BYTES && length < most))
        return part_bounce(rings, call, most, ret_part);
    part.length_bytes = (uint32_t)length;
    *ret_part = part;
    return true;
}

static void submission_put(struct rings *rings, const struct request *request,
                           const struct ring_part *part)
{
    const struct call *call = request->call;
    bool transfer = call->operation->payload != CALL_PAYLOAD_NONE;
    struct ring_submission submission = {
        .id = request_id(rings->requests, request),
        .session = call->session->number,
        .offset_bytes = request->offset_bytes,
        .length_bytes = transfer ? request->length_bytes : call->range.length_bytes,
        .memory_offset = part->place.offset_bytes,
        .arena = part->place.number,
        .operation = (uint16_t)call->operation->ring,
        .flags = (uint16_t)call->range.flags,
    };

    /* For parts of a transfer: the daemon checks the bounds of the whole. */
    if (transfer && request->length_bytes < call->range.length_bytes)
        submission.transfer_end_bytes = call->range.offset_bytes + call->range.length_bytes;
    (void)ring_producer_put(&rings->memory.submissions, &submission);
}

/* The daemon sees what was put so far. */
static void rings_show(struct rings *rings)
{
    if (ring_producer_publish(&rings->memory.submissions) &&
        ring_producer_must_wake(&rings->memory.submissions))
        (void)eventfd_write(rings->memory.doorbell, 1);
}

/* False: it has to wait for completions. */
static bool rings_start_next(struct rings *rings, struct call *call)
{
    struct request *request;
    struct ring_part part;

    if (!part_find(rings, call, &part))
        return false;
    request = request_start_by_ring(rings->requests, call, part.length_bytes);
    request->bounce = part.bounce;
    submission_put(rings, request, &part);
    rings->memory.in_flight++;
    if (part.bounce != NULL && part.length_bytes >= RINGS_SHOW_BYTES)
        rings_show(rings);
    call_part_started(call, part.length_bytes > 0 &&
                                call->progress.started_bytes < call->range.length_bytes);
    return true;
}

/* Whether one more submission may be made. The daemon may complete some before it releases the
 * places of all that it has taken; with nothing in flight every place is free. */
static bool rings_have_room(struct rings_memory *memory)
{
    uint32_t room = 0;

    if (memory->in_flight >= memory->layout.entries || memory->broken)
        return false;
    if (ring_producer_room(&memory->submissions, 1, &room) < 0 ||
        (room == 0 && memory->in_flight == 0))
        memory->broken = true;
    return room > 0;
}

int rings_push(struct rings *rings)
{
    struct call *call;

    if (!rings_ready(rings))
        return 0;
    while ((call = TAILQ_FIRST(&rings->calls->ring_backlog)) != NULL &&
           rings_have_room(&rings->memory) && rings_start_next(rings, call))
        ;
    rings_show(rings);
    return rings->memory.broken ? -EPROTO : 0;
}
