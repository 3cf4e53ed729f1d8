/* SPDX-License-Identifier: MIT */
/*
 * A connection's time limits: for its Hello, for the rest of a frame that has begun, for reading
 * its replies. They are looked at only when the timer fires, so that keeping them costs the way of
 * a request nothing. Time in which the daemon did not read does not count: pauses shift the limits
 * (conn_receive.c), and a timer that comes late lets the limits begin anew, since nobody knows how
 * much of the time before it was the daemon's own. A connection that holds a lock has no limits but
 * the first, until the daemon stops: then each has half of the time for that to read its replies.
 */
#include <errno.h>
#include <stdint.h>

#include "daemon/link/conn.h"

enum { TIMER_LATE_MS = 100 };

/* The limit of the connection that ends first, UINT64_MAX if there is none. */
static uint64_t conn_deadline(const struct conn *conn, const char **ret_what)
{
    const struct config *config = conn->worker->server->config;
    uint64_t deadline = UINT64_MAX;
    if (conn->state == CONN_GREETING) {
        *ret_what = "no Hello in time";
        return conn->accepted_ms + config->hello_timeout_ms;
    }
    if (conn->state == CONN_DRAINING) {
        /* Its I/O has ended: it may not keep the daemon from ending well. */
        *ret_what = "the daemon stops, and replies were not read in time";
        return conn->requests == 0 ? conn->drained_ms + config->drain_timeout_ms / 2 : deadline;
    }
    if (conn->locks > 0)
        return deadline;
    if (conn->frame_since_ms != 0 && !conn->paused) {
        *ret_what = "a frame was not completed in time";
        deadline = conn->frame_since_ms + config->frame_timeout_ms;
    }
    if (conn->blocked_since_ms != 0 &&
        conn->blocked_since_ms + config->unread_timeout_ms < deadline) {
        *ret_what = "replies were not read in time";
        deadline = conn->blocked_since_ms + config->unread_timeout_ms;
    }
    return deadline;
}

static void conn_arm(struct conn *conn, uint64_t delay_ms)
{
    struct timeval delay = {.tv_sec = (time_t)(delay_ms / 1000),
                            .tv_usec = (suseconds_t)(delay_ms % 1000 * 1000)};
    conn->timer_due_ms = worker_now_ms() + delay_ms;
    (void)event_add(conn->timer, &delay);
}

/* A timer that is set already and ends sooner looks again by itself. */
void conn_watch_time(struct conn *conn)
{
    const char *what = NULL;
    if (conn->timer == NULL)
        return;
    uint64_t deadline = conn_deadline(conn, &what);
    if (deadline == UINT64_MAX ||
        (event_pending(conn->timer, EV_TIMEOUT, NULL) && conn->timer_due_ms <= deadline))
        return;
    uint64_t now = worker_now_ms();
    conn_arm(conn, deadline > now ? deadline - now : 0);
}

static void conn_forgive(struct conn *conn, uint64_t now_ms)
{
    conn->accepted_ms = now_ms;
    if (conn->frame_since_ms != 0)
        conn->frame_since_ms = now_ms;
    if (conn->blocked_since_ms != 0)
        conn->blocked_since_ms = now_ms;
}

void on_conn_timer(evutil_socket_t fd, short event, void *user_data)
{
    struct conn *conn = user_data;
    const char *what = NULL;
    (void)fd;
    (void)event;
    uint64_t now = worker_now_ms();
    if (now > conn->timer_due_ms + TIMER_LATE_MS)
        conn_forgive(conn, now);
    uint64_t deadline = conn_deadline(conn, &what);
    if (deadline == UINT64_MAX)
        return;
    if (deadline > now)
        conn_arm(conn, deadline - now);
    else
        conn_refuse(conn, -ETIMEDOUT, "%s", what);
}
