/* SPDX-License-Identifier: MIT */
/* See request.h. */
#include "client/lib/call/request.h"

#include <errno.h>
#include <stdlib.h>

#include "client/lib/call/call.h"
#include "common/limits.h"
#include "common/wire.h"

int request_table_init(struct request_table *table)
{
    *table = (struct request_table){
        .requests = calloc(REQUEST_PLACES, sizeof(struct request)),
        .limit = 1, /* until the daemon's Hello tells */
        .max_io_bytes = SECTOR_SIZE_MAX,
    };
    STAILQ_INIT(&table->free);
    return table->requests != NULL ? 0 : -ENOMEM;
}

void request_table_deinit(struct request_table *table)
{
    if (table->requests != NULL)
        request_table_clear(table);
    free(table->requests);
    table->requests = NULL;
}

void request_table_clear(struct request_table *table)
{
    for (uint32_t i = 0; i < table->used; i++)
        if (table->requests[i].call != NULL)
            request_free(table, &table->requests[i]);
}

uint64_t request_id(const struct request_table *table, const struct request *request)
{
    return (uint64_t)request->generation * REQUEST_PLACES + (uint64_t)(request - table->requests);
}

struct request *request_find(struct request_table *table, uint64_t id)
{
    struct request *request = &table->requests[id % REQUEST_PLACES];

    return request->call != NULL && request_id(table, request) == id ? request : NULL;
}

/* How much of the call its next part takes: as much as one request may carry in whole sectors. */
static uint32_t request_part_bytes(const struct request_table *table, const struct call *call)
{
    uint64_t left = call->range.length_bytes - call->progress.started_bytes;
    uint32_t most;

    if (call->operation->payload == CALL_PAYLOAD_NONE)
        return 0;
    most = table->max_io_bytes - table->max_io_bytes % call->session->sector_size;
    return left < most ? (uint32_t)left : most;
}

bool request_may_start(const struct request_table *table, const struct call *call)
{
    uint64_t bytes = table->bytes_in_flight;

    return table->in_flight < table->limit &&
           (bytes == 0 || bytes + request_part_bytes(table, call) <= REQUEST_WINDOW_BYTES);
}

static bool request_is_large_read(const struct request *request)
{
    return request->call->operation->payload == CALL_PAYLOAD_IN &&
           request->length_bytes >= REQUEST_LARGE_BYTES;
}

static struct request *request_place(struct request_table *table)
{
    struct request *request = STAILQ_FIRST(&table->free);

    if (request != NULL)
        STAILQ_REMOVE_HEAD(&table->free, link);
    else
        request = &table->requests[table->used++];
    request->generation++;
    if (request->generation == 0)
        request->generation = 1; /* an id is never 0 */
    return request;
}

static int request_pack(const struct request_table *table, struct request *request)
{
    struct request_frame *frame = &request->frame;
    Blkd__Request message = BLKD__REQUEST__INIT;
    union call_body body;
    size_t size;

    message.id = request_id(table, request);
    request->call->operation->build(request->call, request, &message, &body);
    size = wire_request_size(&message);
    frame->header = size <= sizeof(frame->header_inline) ? frame->header_inline : malloc(size);
    if (frame->header == NULL)
        return -ENOMEM;
    frame->header_bytes = (uint32_t)size;
    wire_pack_request(&message, frame->payload_unsent_bytes, frame->header);
    return 0;
}

static void request_count(struct request_table *table, const struct request *request)
{
    table->in_flight++;
    table->bytes_in_flight += request->length_bytes;
    if (request_is_large_read(request))
        table->large_reads_in_flight++;
}

static struct request *request_make(struct request_table *table, struct call *call,
                                    uint32_t length_bytes)
{
    struct request *request = request_place(table);

    request->call = call;
    request->by_ring = call->progress.by_ring;
    request->frame.answered = false;
    request->frame.header_sent_bytes = 0;
    request->payload = call->progress.cursor;
    request->offset_bytes = call->range.offset_bytes + call->progress.started_bytes;
    request->length_bytes = length_bytes;
    request->bounce = NULL;
    return request;
}

/* The call's next part is what follows. */
static void request_move_call(const struct request *request, struct call *call)
{
    struct call_progress *progress = &call->progress;

    progress->started_bytes += request->length_bytes;
    if (request->length_bytes > 0 && progress->started_bytes < call->range.length_bytes)
        cursor_advance(&progress->cursor, request->length_bytes);
}

int request_start(struct request_table *table, struct call *call, struct request **ret_request)
{
    struct request *request = request_make(table, call, request_part_bytes(table, call));
    int r;

    request->frame.payload_unsent_bytes =
        call->operation->payload == CALL_PAYLOAD_OUT ? request->length_bytes : 0;
    request_count(table, request);
    r = request_pack(table, request);
    if (r < 0) {
        request_free(table, request);
        return r;
    }
    request_move_call(request, call);
    *ret_request = request;
    return 0;
}

struct request *request_start_by_ring(struct request_table *table, struct call *call,
                                      uint32_t length_bytes)
{
    struct request *request = request_make(table, call, length_bytes);

    request_move_call(request, call);
    return request;
}

static void request_uncount(struct request_table *table, struct request *request)
{
    table->in_flight--;
    table->bytes_in_flight -= request->length_bytes;
    if (request_is_large_read(request))
        table->large_reads_in_flight--;
    if (request->frame.header != request->frame.header_inline)
        free(request->frame.header);
    request->frame.header = NULL;
}

void request_free(struct request_table *table, struct request *request)
{
    if (!request->by_ring)
        request_uncount(table, request);
    request->call = NULL;
    STAILQ_INSERT_HEAD(&table->free, request, link);
}
