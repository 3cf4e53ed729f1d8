/* SPDX-License-Identifier: MIT */
/*
 * The way in by ring: completions become ends of parts. Nothing in shared memory is believed: what
 * makes no sense loses the connection.
 */
#include <string.h>

#include "client/lib/ring/rings.h"
#include "common/status.h"

/* The daemon's words about a failure. */
static void reap_failure(const struct rings_memory *memory, const struct request *request,
                         int error, const struct ring_completion *completion, uint32_t place)
{
    const uint8_t *words =
        memory->base + memory->layout.messages + (size_t)place * RING_MESSAGE_BYTES;
    uint32_t length = completion->message_bytes;
    char message[RING_MESSAGE_BYTES];

    if (length > sizeof(message) - 1)
        length = sizeof(message) - 1;
    memcpy(message, words, length);
    message[length] = '\0';
    call_part_refused(request->call, request->offset_bytes, error, message,
                      length > 0 ? words[RING_MESSAGE_REASON] : 0);
}

static void reap_bounce(struct arena_set *bounce, struct request *request, bool failed)
{
    if (!failed && request->call->operation->payload == CALL_PAYLOAD_IN)
        cursor_fill(&request->payload, request->bounce, request->length_bytes);
    (void)arena_free(bounce, request->bounce);
}

/* False: the connection is lost by it. */
static bool reap_one(struct rings *rings)
{
    struct rings_memory *memory = &rings->memory;
    struct ring_completion completion;
    uint32_t place = ring_consumer_take(&memory->completions, &completion);
    struct request *request = request_find(rings->requests, completion.id);
    struct call *call;
    int error = 0;

    if (request == NULL || !request->by_ring) {
        call_table_lose(rings->calls, "the daemon completed a submission that is not in flight");
        return false;
    }
    if (completion.status != BLKD__STATUS__STATUS_OK) {
        error = status_to_errno((Blkd__Status)completion.status);
        reap_failure(memory, request, error, &completion, place);
    }
    if (request->bounce != NULL)
        reap_bounce(&rings->bounce.set, request, error < 0);
    call = request->call;
    memory->in_flight--;
    request_free(rings->requests, request);
    call_part_ended(call);
    return true;
}

void rings_reap(struct rings *rings)
{
    struct rings_memory *memory = &rings->memory;
    uint32_t ready;

    if (!rings_ready(rings) || rings->calls->lost)
        return;
    if (memory->broken || ring_consumer_look(&memory->completions, &ready) < 0) {
        call_table_lose(rings->calls, "the daemon wrote invalid data into the shared rings");
        return;
    }
    while (ready > 0 && reap_one(rings))
        ready--;
    ring_consumer_release(&memory->completions);
}

bool rings_sleep(struct rings *rings)
{
    rings->memory.asleep = ring_consumer_sleep(&rings->memory.completions);
    return rings->memory.asleep;
}

void rings_wake(struct rings *rings)
{
    if (!rings->memory.asleep)
        return;
    rings->memory.asleep = false;
    ring_consumer_wake(&rings->memory.completions);
}
