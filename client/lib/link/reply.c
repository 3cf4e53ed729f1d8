/* SPDX-License-Identifier: MIT */
/* See reply.h. */
#include "client/lib/link/reply.h"

#include <errno.h>

#include "common/status.h"

/* An event, or the daemon's reason for closing the connection. */
static bool reply_unasked(const struct replies *replies, const Blkd__Reply *reply,
                          uint32_t payload_bytes)
{
    int error = status_to_errno(reply->status);

    if (payload_bytes != 0) {
        call_table_lose(replies->calls, "the daemon sent payload that belongs to no request");
        return false;
    }
    if (reply->body_case == BLKD__REPLY__BODY_EVENT) {
        replies->on_event(replies->calls, reply->event);
        return true;
    }
    if (error == 0)
        return true; /* of a newer protocol */
    call_table_lose(replies->calls, "the daemon closed the connection: %s%s%s",
                    blkd_strerror(error), reply->message[0] != '\0' ? ": " : "", reply->message);
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
    *ret_detail = error == -EPROTO ? "the reply of the daemon is incomplete" : NULL;
    return error;
}

void reply_finish(const struct replies *replies, struct request *request)
{
    struct call *call = request->call;

    /* The rest of a frame still has to follow its beginning, whatever the daemon thinks of it. */
    if (request->frame.queued) {
        request->frame.answered = true;
        return;
    }
    request_free(replies->requests, request);
    call_part_ended(call);
}

/* The request that a reply is for. NULL: the connection is lost, it is for none. */
static struct request *reply_find(const struct replies *replies, uint64_t id)
{
    struct request *request = request_find(replies->requests, id);

    if (request != NULL && !request->by_ring && !request->frame.answered &&
        request->frame.header_sent_bytes > 0)
        return request;
    call_table_lose(replies->calls, "the daemon answered a request that is not in flight");
    return NULL;
}

static uint32_t reply_payload_bytes(const struct request *request, const Blkd__Reply *reply)
{
    bool comes =
        request->call->operation->payload == CALL_PAYLOAD_IN && status_to_errno(reply->status) == 0;

    return comes ? request->length_bytes : 0;
}

bool reply_take(const struct replies *replies, const Blkd__Reply *reply, uint32_t payload_bytes,
                struct request **ret_target)
{
    struct request *request;
    const char *detail;
    int error;

    *ret_target = NULL;
    if (reply->id == 0)
        return reply_unasked(replies, reply, payload_bytes);
    request = reply_find(replies, reply->id);
    if (request == NULL)
        return false;
    if (payload_bytes != reply_payload_bytes(request, reply)) {
        call_table_lose(replies->calls,
                        "the daemon answered with %u bytes of payload instead of %u", payload_bytes,
                        reply_payload_bytes(request, reply));
        return false;
    }
    error = reply_result(request->call, reply, &detail);
    if (error < 0)
        call_part_refused(request->call, request->offset_bytes, error, detail,
                          (uint32_t)reply->reason);
    if (payload_bytes > 0)
        *ret_target = request;
    else
        reply_finish(replies, request);
    return true;
}
