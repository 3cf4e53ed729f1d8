/* SPDX-License-Identifier: MIT */
/* See sender.h. */
#include "client/lib/link/sender.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"

void sender_init(struct sender *sender, int socket, struct call_table *calls,
                 struct request_table *requests)
{
    sender->socket = socket;
    sender->calls = calls;
    sender->requests = requests;
    sender->blocked = false;
    sender->stopped = false;
    STAILQ_INIT(&sender->queue);
}

static void sender_start_next(struct sender *sender, struct call *call)
{
    struct request *request;
    int r = request_start(sender->requests, call, &request);

    if (r < 0) {
        call_part_started(call, false);
        call_part_failed(call, call->range.offset_bytes + call->progress.started_bytes, r, NULL);
        call_part_ended(call);
        return;
    }
    call_part_started(call, request->length_bytes > 0 &&
                                call->progress.started_bytes < call->range.length_bytes);
    STAILQ_INSERT_TAIL(&sender->queue, request, link);
    request->frame.queued = true;
}

static void sender_fill(struct sender *sender)
{
    struct call *call;

    while ((call = TAILQ_FIRST(&sender->calls->backlog)) != NULL &&
           request_may_start(sender->requests, call))
        sender_start_next(sender, call);
}

/* A descriptor goes with the first byte of its frame: such a request begins a message of its own.
 */
static bool sender_has_descriptor(const struct request *request)
{
    return request->frame.header_sent_bytes == 0 && request->call->passing.fd >= 0;
}

/* Lists what is unsent in sender->iov; returns the number of entries. */
static size_t sender_gather(struct sender *sender, size_t *ret_bytes)
{
    const struct request *request;
    struct iovec *iov = sender->iov;
    size_t count = 0;
    size_t bytes = 0;

    STAILQ_FOREACH (request, &sender->queue, link) {
        size_t header = request->frame.header_bytes - request->frame.header_sent_bytes;
        size_t payload = 0;

        if (count == IOV_MAX || (count > 0 && sender_has_descriptor(request)))
            break;
        if (header > 0)
            iov[count++] =
                (struct iovec){request->frame.header + request->frame.header_sent_bytes, header};
        count += cursor_view(&request->payload, request->frame.payload_unsent_bytes, iov + count,
                             IOV_MAX - count, &payload);
        bytes += header + payload;
        if (payload < request->frame.payload_unsent_bytes)
            break;
    }
    *ret_bytes = bytes;
    return count;
}

/* Moves a request on by up to `bytes` sent bytes; returns how many of them were its own. */
static size_t sender_advance(struct request *request, size_t bytes)
{
    size_t header = request->frame.header_bytes - request->frame.header_sent_bytes;
    size_t payload = request->frame.payload_unsent_bytes;

    if (header > bytes)
        header = bytes;
    if (payload > bytes - header)
        payload = bytes - header;
    if (header > 0 && request->call->passing.fd >= 0)
        (void)close(TAKE_FD(request->call->passing.fd));
    request->frame.header_sent_bytes += (uint32_t)header;
    request->frame.payload_unsent_bytes -= (uint32_t)payload;
    if (payload > 0 && request->call->operation->payload == CALL_PAYLOAD_OUT)
        cursor_advance(&request->payload, payload);
    return header + payload;
}

static bool sender_is_sent(const struct request *request)
{
    return request->frame.header_sent_bytes == request->frame.header_bytes &&
           request->frame.payload_unsent_bytes == 0;
}

static void sender_sent(struct sender *sender, size_t bytes)
{
    struct request *request;

    while ((request = STAILQ_FIRST(&sender->queue)) != NULL) {
        bytes -= sender_advance(request, bytes);
        if (!sender_is_sent(request))
            return;
        STAILQ_REMOVE_HEAD(&sender->queue, link);
        request->frame.queued = false;
        if (request->frame.answered) {
            struct call *call = request->call;
            request_free(sender->requests, request);
            call_part_ended(call);
        }
    }
}

/* Returns false when there is no more to be sent now. */
static bool sender_flush_once(struct sender *sender)
{
    struct request *first = STAILQ_FIRST(&sender->queue);
    struct msghdr message = {.msg_iov = sender->iov};
    size_t bytes;
    ssize_t n;

    if (first == NULL || sender->stopped)
        return false;
    message.msg_iovlen = sender_gather(sender, &bytes);
    n = fdpass_send(sender->socket, &message,
                    sender_has_descriptor(first) ? first->call->passing.fd : -1, MSG_DONTWAIT);
    if (n < 0 && n != -EAGAIN) {
        sender->stopped = true;
        (void)shutdown(sender->socket, SHUT_RDWR); /* what came before stays readable */
        return false;
    }
    if (n > 0)
        sender_sent(sender, (size_t)n);
    sender->blocked = n < 0 || (size_t)n < bytes;
    return n > 0 && (size_t)n == bytes;
}

void sender_push(struct sender *sender)
{
    do
        sender_fill(sender);
    while (sender_flush_once(sender));
}

void sender_lose(struct sender *sender)
{
    STAILQ_INIT(&sender->queue);
    sender->blocked = false;
}
