/* SPDX-License-Identifier: MIT */
/* What everybody who works for a connection needs of it. How it starts, is served, and ends is in
 * conn_start.c, conn_round.c and conn_close.c. */
#include "daemon/link/conn.h"

#include "common/cleanup.h"
#include "daemon/link/channel.h"
#include "daemon/link/request.h"

void conn_touch(struct conn *conn)
{
    if (conn->touched)
        return;
    conn->touched = true;
    conn->worker->polling.activity++;
    TAILQ_INSERT_TAIL(&conn->worker->touched, conn, touched_link);
}

void conn_break(struct conn *conn, int error)
{
    if (conn->broken == 0)
        conn->broken = error;
    conn_touch(conn);
}

bool conn_is_backed_up(const struct conn *conn)
{
    return conn->out.unsent_bytes > CONN_EVENTS_UNSENT_MAX;
}

int conn_take_descriptor(struct conn *conn)
{
    int fd = conn->in.pending_fd;
    conn->in.pending_fd = TAKE_FD(conn->in.later_fd);
    return fd;
}

static struct request_id_list *conn_bucket(struct conn *conn, uint64_t id)
{
    return &conn->requests.ids[id % CONN_ID_BUCKETS];
}

bool conn_has_request(const struct conn *conn, uint64_t id)
{
    const struct request *request = NULL;
    LIST_FOREACH (request, &conn->requests.ids[id % CONN_ID_BUCKETS], id_link) {
        if (request->id == id)
            return true;
    }
    return false;
}

void conn_add_request(struct conn *conn, struct request *request)
{
    LIST_INSERT_HEAD(conn_bucket(conn, request->id), request, id_link);
    conn->requests.count++;
}

void conn_remove_request(struct conn *conn, struct request *request)
{
    LIST_REMOVE(request, id_link);
    conn->requests.count--;
}

unsigned int conn_in_rings(const struct conn *conn)
{
    return conn->channel != NULL ? conn->channel->in_flight : 0;
}

void conn_charge(struct conn *conn, struct request *request, size_t bytes)
{
    request->charged_bytes += bytes;
    conn->requests.buffered_bytes += bytes;
}

void conn_credit(struct conn *conn, struct request *request)
{
    conn->requests.buffered_bytes -= request->charged_bytes;
    request->charged_bytes = 0;
}

void conn_queue(struct conn *conn, struct outgoing *outgoing)
{
    if (conn->state == CONN_CLOSING) {
        outgoing->release(outgoing);
        return;
    }
    STAILQ_INSERT_TAIL(&conn->out.queue, outgoing, link);
    conn->out.unsent_frames++;
    conn->out.unsent_bytes += outgoing->head_bytes + outgoing->payload_bytes;
    conn_touch(conn);
}

void conn_number_event(struct conn *conn, Blkd__Event *event, Blkd__Reply *reply)
{
    event->sequence = ++conn->out.last_event;
    reply->body_case = BLKD__REPLY__BODY_EVENT;
    reply->event = event;
}

void conn_queue_event(struct conn *conn, Blkd__Event *event)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    if (conn->state != CONN_SERVING)
        return;
    conn_number_event(conn, event, &reply);
    struct outgoing *outgoing = outgoing_new(&reply);
    if (outgoing != NULL)
        conn_queue(conn, outgoing);
}
