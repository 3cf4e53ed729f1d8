/* SPDX-License-Identifier: MIT */
/* See reply.h. */
#include "client/lib/link/reply.h"

#include <errno.h>

#include "client/lib/call/request.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/event.h"
#include "client/lib/link/receiver.h"
#include "common/status.h"

/* An event, or the daemon's reason for closing the connection. */
static bool reply_unasked(struct blkd *connection, const Blkd__Reply *reply, uint32_t payload_bytes)
{
    int error = status_to_errno(reply->status);

    if (payload_bytes != 0) {
        handle_lose(connection, "the daemon sent payload that belongs to no request");
        return false;
    }
    if (reply->body_case == BLKD__REPLY__BODY_EVENT) {
        event_received(connection, reply->event);
        return true;
    }
    if (error == 0)
        return true; /* of a newer protocol */
    handle_lose(connection, "the daemon closed the connection: %s%s%s", blkd_strerror(error),
                reply->message[0] != '\0' ? ": " : "", reply->message);
    return false;
}

/* The error that a reply tells, its results taken out if it tells none. */
static int reply_result(struct call *call, const Blkd__Reply *reply, const char **ret_detail)
{
    int error = status_to_errno(reply->status);

    *ret_detail = reply->message;
    if (error < 0 || call->operation->on_reply == NULL)
        return error;
    error = call->operation->on_reply(call, reply);
    *ret_detail = error == -EPROTO ? "the daemon's reply lacks what was asked for" : NULL;
    return error;
}

void reply_finish(struct blkd *connection, struct request *request)
{
    struct call *call = request->call;

    /* The rest of a frame still has to follow its beginning, whatever the daemon thinks of it. */
    if (request->in_send_queue) {
        request->answered = true;
        return;
    }
    request_free(&connection->requests, request);
    call_part_ended(call);
}

bool reply_take(struct blkd *connection, const Blkd__Reply *reply, uint32_t payload_bytes)
{
    struct request *request;
    uint32_t expected_bytes = 0;
    const char *detail;
    int error;

    if (reply->id == 0)
        return reply_unasked(connection, reply, payload_bytes);
    request = request_find(&connection->requests, reply->id);
    if (request == NULL || request->by_ring || request->answered ||
        request->header_sent_bytes == 0) {
        handle_lose(connection, "the daemon answered a request that is not in flight");
        return false;
    }
    if (request->call->operation->payload == CALL_PAYLOAD_IN && status_to_errno(reply->status) == 0)
        expected_bytes = request->length_bytes;
    if (payload_bytes != expected_bytes) {
        handle_lose(connection, "the daemon answered with %u bytes of payload instead of %u",
                    payload_bytes, expected_bytes);
        return false;
    }
    error = reply_result(request->call, reply, &detail);
    if (error < 0)
        call_part_failed(request->call, request->offset_bytes, error, detail);
    if (expected_bytes > 0)
        receiver_aim(&connection->receiver, request);
    else
        reply_finish(connection, request);
    return true;
}
