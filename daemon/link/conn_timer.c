/* SPDX-License-Identifier: MIT */
/*
 * A connection's time limits: for its Hello, for the rest of a frame that has begun, for reading
 * its replies. They are looked at only when the timer fires, so that keeping them costs the way of
 * a request nothing. Time in which the daemon did not read does not count: pauses shift the limits
 * (conn_receive.c), and a timer that comes late lets the limits begin anew, since nobody knows how
 * much of the time before it was the daemon's own. A connection that holds a lock has no limits but
 * the first, until the daemon stops: then each has half of the time for that to read its replies.
 */
#include <stdint.h>

#include "daemon/base/clock.h"
#include "daemon/link/conn_impl.h"

enum { TIMER_LATE_MS = 100 };

/* The limit of the connection that ends first, UINT64_MAX if there is none. */
static uint64_t conn_deadline(const struct conn *conn, const char **ret_what)
{
    const struct limits *limits = &conn->worker->server->limits;
    uint64_t deadline = UINT64_MAX;
    if (conn->state == CONN_GREETING) {
        *ret_what = "no Hello received in time";
        return conn->times.accepted_ms + limits->hello_timeout_ms;
    }
    if (conn->state == CONN_DRAINING) {
        /* Its I/O has ended: it may not keep the daemon from ending well. */
        *ret_what = "the daemon is stopping, and the client did not read its replies in time";
        return conn->requests.count == 0 ? conn->times.drained_ms + limits->drain_timeout_ms / 2
                                         : deadline;
    }
    if (conn->sessions.locks > 0)
        return deadline;
    if (conn->times.frame_since_ms != 0 && !conn->in.paused) {
        *ret_what = "incomplete frame: the rest did not arrive in time";
        deadline = conn->times.frame_since_ms + limits->frame_timeout_ms;
    }
    if (conn->times.blocked_since_ms != 0 &&
        conn->times.blocked_since_ms + limits->unread_timeout_ms < deadline) {
        *ret_what = "the client did not read its replies in time";
        deadline = conn->times.blocked_since_ms + limits->unread_timeout_ms;
    }
    return deadline;
}

static void conn_arm(struct conn *conn, uint64_t delay_ms)
{
    struct timeval delay = {.tv_sec = (time_t)(delay_ms / 1000),
                            .tv_usec = (suseconds_t)(delay_ms % 1000 * 1000)};
    conn->times.due_ms = clock_ms() + delay_ms;
    (void)event_add(conn->times.timer, &delay);
}

/* A timer that is set already and ends sooner looks again by itself. */
void conn_watch_time(struct conn *conn)
{
    const char *what = NULL;
    if (conn->times.timer == NULL)
        return;
    uint64_t deadline = conn_deadline(conn, &what);
    if (deadline == UINT64_MAX ||
        (event_pending(conn->times.timer, EV_TIMEOUT, NULL) && conn->times.due_ms <= deadline))
        return;
    uint64_t now = clock_ms();
    conn_arm(conn, deadline > now ? deadline - now : 0);
}

static void conn_forgive(struct conn *conn, uint64_t now_ms)
{
    conn->times.accepted_ms = now_ms;
    if (conn->times.frame_since_ms != 0)
        conn->times.frame_since_ms = now_ms;
    if (conn->times.blocked_since_ms != 0)
        conn->times.blocked_since_ms = now_ms;
}

bool conn_is_overdue(struct conn *conn, const char **ret_what)
{
    uint64_t now = clock_ms();
    if (now > conn->times.due_ms + TIMER_LATE_MS)
        conn_forgive(conn, now);
    uint64_t deadline = conn_deadline(conn, ret_what);
    if (deadline == UINT64_MAX)
        return false;
    if (deadline <= now)
        return true;
    conn_arm(conn, deadline - now);
    return false;
}
