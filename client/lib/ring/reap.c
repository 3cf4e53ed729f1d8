/* SPDX-License-Identifier: MIT */
/*
 * The way in by ring: completions become ends of parts. Nothing in shared memory is believed: what
 * makes no sense loses the connection.
 */
#include <string.h>

#include "client/lib/call/call.h"
#include "client/lib/call/request.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/link/sender.h"
#include "client/lib/ring/rings.h"
#include "common/status.h"

/* The daemon's words about a failure. */
static void reap_failure(const struct rings *rings, const struct request *request, int error,
                         const struct ring_completion *completion, uint32_t place)
{
    const uint8_t *words =
        rings->memory + rings->layout.messages + (size_t)place * RING_MESSAGE_BYTES;
    uint32_t length = completion->message_bytes;
    char message[RING_MESSAGE_BYTES];

    if (length > sizeof(message) - 1)
        length = sizeof(message) - 1;
    memcpy(message, words, length);
    message[length] = '\0';
    call_part_failed(request->call, request->offset_bytes, error, message);
}

static void reap_bounce(struct rings *rings, struct request *request, bool failed)
{
    if (!failed && request->call->operation->payload == CALL_PAYLOAD_IN)
        cursor_fill(&request->payload, request->bounce, request->length_bytes);
    (void)arena_free(&rings->bounce, request->bounce);
}

/* False: the connection is lost by it. */
static bool reap_one(struct blkd *connection)
{
    struct rings *rings = &connection->rings;
    struct ring_completion completion;
    uint32_t place = ring_consumer_take(&rings->completions, &completion);
    struct request *request = request_find(&connection->requests, completion.id);
    struct call *call;
    int error = 0;

    if (request == NULL || !request->by_ring) {
        handle_lose(connection, "the daemon completed a submission that is not in flight");
        return false;
    }
    if (completion.status != BLKD__STATUS__STATUS_OK) {
        error = status_to_errno((Blkd__Status)completion.status);
        reap_failure(rings, request, error, &completion, place);
    }
    if (request->bounce != NULL)
        reap_bounce(rings, request, error < 0);
    call = request->call;
    rings->in_flight--;
    request_free(&connection->requests, request);
    call_part_ended(call);
    return true;
}

void rings_reap(struct blkd *connection)
{
    struct rings *rings = &connection->rings;
    uint32_t ready;

    if (!rings_ready(rings) || connection->lost)
        return;
    if (rings->broken || ring_consumer_look(&rings->completions, &ready) < 0) {
        handle_lose(connection, "the daemon wrote nonsense into the rings' shared memory");
        return;
    }
    while (ready > 0 && reap_one(connection))
        ready--;
    ring_consumer_release(&rings->completions);
}

void rings_wake(struct rings *rings)
{
    if (!rings->asleep)
        return;
    rings->asleep = false;
    ring_consumer_wake(&rings->completions);
}

void rings_advance(struct blkd *connection)
{
    rings_reap(connection);
    if (!connection->lost && call_table_waits(&connection->calls))
        sender_push(connection);
}

void rings_rest(struct blkd *connection)
{
    struct rings *rings = &connection->rings;

    if (!rings_ready(rings) || connection->reading)
        return;
    while (rings->in_flight > 0 && !rings->asleep && !connection->lost) {
        rings->asleep = ring_consumer_sleep(&rings->completions);
        if (rings->asleep)
            return;
        rings_advance(connection);
    }
}
