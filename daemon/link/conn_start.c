/* SPDX-License-Identifier: MIT */
/* A connection's beginning: made on the main thread, started on its worker. */
#include <errno.h>
#include <stdlib.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/link/conn_impl.h"
#include "daemon/link/sessions.h"

static void on_conn_writable(evutil_socket_t fd, short what, void *user_data)
{
    struct conn *conn = user_data;
    (void)fd;
    (void)what;
    conn_touch(conn);
}

static void on_conn_timer(evutil_socket_t fd, short event, void *user_data)
{
    struct conn *conn = user_data;
    const char *what = NULL;
    (void)fd;
    (void)event;
    if (conn_is_overdue(conn, &what))
        conn_refuse(conn, -ETIMEDOUT, "%s", what);
}

static void on_conn_letter(struct letter *letter)
{
    struct conn *conn = CONTAINER_OF(letter, struct conn, letter);
    struct worker *worker = conn->worker;

    conn->in.event =
        event_new(worker->io.base.events, conn->fd, EV_READ | EV_PERSIST, on_conn_readable, conn);
    conn->out.event = event_new(worker->io.base.events, conn->fd, EV_WRITE, on_conn_writable, conn);
    conn->times.timer = event_new(worker->io.base.events, -1, 0, on_conn_timer, conn);
    conn->times.accepted_ms = clock_ms(); /* what it waited for the worker is not its time */
    LIST_INSERT_HEAD(&worker->conns, conn, link);
    if (conn->in.event == NULL || conn->out.event == NULL || conn->times.timer == NULL ||
        event_add(conn->in.event, NULL) < 0 || worker->stopping) {
        conn_close(conn);
        return;
    }
    conn_watch_time(conn);
}

int conn_new(struct worker *worker, struct user *user, const struct peer *peer, int fd,
             struct conn **ret_conn)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL)
        return -ENOMEM;
    conn->worker = worker;
    conn->user = user;
    conn->peer = *peer;
    conn->number = atomic_fetch_add(&worker->server->last_connection, 1) + 1;
    conn->state = CONN_GREETING;
    conn->fd = fd;
    conn->letter.deliver = on_conn_letter;
    conn->in.pending_fd = -1;
    conn->in.later_fd = -1;
    STAILQ_INIT(&conn->out.queue);
    sessions_init(conn);
    for (unsigned int i = 0; i < CONN_ID_BUCKETS; i++)
        LIST_INIT(&conn->requests.ids[i]);
    helper_share_init(&conn->helper_share, HELPER_PER_CONNECTION);
    *ret_conn = conn;
    return 0;
}

void conn_start(struct conn *conn)
{
    loop_post(&conn->worker->io.base, &conn->letter);
}
