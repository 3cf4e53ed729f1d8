/* SPDX-License-Identifier: MIT */
/* The sending half of a connection: the frames that are ready leave in as few messages as possible.
 */
#include <errno.h>
#include <sys/socket.h>

#include "common/fdpass.h"
#include "daemon/base/clock.h"
#include "daemon/link/conn_impl.h"

enum { CONN_SEND_VECTORS = 128 };

static int conn_gather(const struct conn *conn, struct iovec vectors[CONN_SEND_VECTORS])
{
    const struct outgoing *outgoing = NULL;
    size_t skip = conn->out.sent_bytes; /* of the first frame only */
    int count = 0;
    STAILQ_FOREACH (outgoing, &conn->out.queue, link) {
        if (count + 2 > CONN_SEND_VECTORS || (count > 0 && outgoing->fd_count > 0))
            break;
        if (skip < outgoing->head_bytes)
            vectors[count++] = (struct iovec){.iov_base = outgoing->head + skip,
                                              .iov_len = outgoing->head_bytes - skip};
        size_t payload_skip = skip > outgoing->head_bytes ? skip - outgoing->head_bytes : 0;
        if (outgoing->payload_bytes > payload_skip)
            vectors[count++] =
                (struct iovec){.iov_base = (void *)(uintptr_t)(outgoing->payload + payload_skip),
                               .iov_len = outgoing->payload_bytes - payload_skip};
        skip = 0;
    }
    return count;
}

static void conn_sent(struct conn *conn, size_t bytes)
{
    conn->out.unsent_bytes -= bytes;
    conn->out.sent_bytes += bytes;
    while (!STAILQ_EMPTY(&conn->out.queue)) {
        struct outgoing *outgoing = STAILQ_FIRST(&conn->out.queue);
        size_t size = outgoing->head_bytes + outgoing->payload_bytes;
        if (conn->out.sent_bytes < size)
            return;
        conn->out.sent_bytes -= size;
        conn->out.unsent_frames--;
        STAILQ_REMOVE_HEAD(&conn->out.queue, link);
        outgoing->release(outgoing);
    }
}

static void conn_send_blocked(struct conn *conn)
{
    if (conn->times.blocked_since_ms == 0)
        conn->times.blocked_since_ms = clock_ms();
    (void)event_add(conn->out.event, NULL);
    conn_watch_time(conn);
}

/* Others have not received the descriptors that were sent to them: that is not this client's fault.
 */
static void conn_send_otherwise(struct conn *conn)
{
    struct outgoing *outgoing = STAILQ_FIRST(&conn->out.queue);
    conn->out.unsent_bytes -= outgoing->head_bytes;
    outgoing->on_unsendable(outgoing);
    conn->out.unsent_bytes += outgoing->head_bytes;
}

int conn_send(struct conn *conn)
{
    while (conn->state != CONN_CLOSING && !STAILQ_EMPTY(&conn->out.queue)) {
        struct iovec vectors[CONN_SEND_VECTORS];
        struct msghdr message = {.msg_iov = vectors};
        message.msg_iovlen = (size_t)conn_gather(conn, vectors);
        /* Descriptors go with the first byte of their frame, which begins a message of its own. */
        const struct outgoing *first = STAILQ_FIRST(&conn->out.queue);
        size_t fds = conn->out.sent_bytes == 0 ? first->fd_count : 0;
        ssize_t sent = fdpass_send_many(conn->fd, &message, first->fds, fds, MSG_DONTWAIT);
        if (sent == -EAGAIN) {
            conn_send_blocked(conn);
            return 0;
        }
        if (sent == -ETOOMANYREFS && fds > 0) {
            conn_send_otherwise(conn);
            continue;
        }
        if (sent < 0)
            return (int)sent;
        conn->times.blocked_since_ms = 0;
        conn_sent(conn, (size_t)sent);
    }
    return 0;
}
