/* SPDX-License-Identifier: MIT */
/* A connection's beginning: made on the main thread, started on its worker. */
#include <errno.h>
#include <stdlib.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
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

/* ---- the client's process ---- */

static void conn_log_ended(const struct conn *conn)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_DEBUG, "client-ended");
    log_number(&line, "connection", conn->number);
    peer_log(&conn->peer, &line);
    log_end(&line);
}

static void on_conn_process_ended(evutil_socket_t fd, short what, void *user_data)
{
    struct conn *conn = user_data;
    (void)fd;
    (void)what;
    conn_log_ended(conn);
    conn_close(conn);
}

/* Its end is then seen by its socket only. Want of descriptors or memory is said once; that a
 * process cannot be watched at all is nothing that an administrator has to hear of. */
static void conn_log_unwatched(const struct conn *conn, int error)
{
    bool here = error == -EOPNOTSUPP;
    if (!here && atomic_exchange(&conn->worker->server->unwatched_said, true))
        return;
    struct log_line line;
    log_begin(&line, here ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "client-unwatched");
    log_number(&line, "connection", conn->number);
    peer_log(&conn->peer, &line);
    log_errno(&line, error);
    log_text(&line, "message",
             here ? "the client's process cannot be watched; its connection ends with its socket"
                  : "cannot watch a client's process; while another process has its socket, its "
                    "locks outlive it (logged only once)");
    log_end(&line);
}

/* Its descriptor, if it may have one; else a negative errno. */
static int conn_open_process(const struct conn *conn)
{
    struct server *server = conn->worker->server;
    int fd = -EMFILE;
    if (atomic_fetch_add(&server->watched, 1) < server->watched_max)
        fd = peer_open_process(conn->fd, &conn->peer);
    if (fd < 0)
        atomic_fetch_sub(&server->watched, 1);
    return fd;
}

/* A child that the client forked may keep the socket open, which then says nothing of the client's
 * end. False: it has ended already. */
static bool conn_watch_process(struct conn *conn)
{
    int error = 0;
    conn->process_fd = conn_open_process(conn);
    if (conn->process_fd == -ESRCH) {
        conn_log_ended(conn);
        return false;
    }
    if (conn->process_fd < 0) {
        error = conn->process_fd;
    } else {
        conn->process_event = event_new(conn->worker->io.base.events, conn->process_fd, EV_READ,
                                        on_conn_process_ended, conn);
        if (conn->process_event == NULL || event_add(conn->process_event, NULL) < 0)
            error = -ENOMEM;
    }
    if (error < 0)
        conn_log_unwatched(conn, error);
    return true;
}

/* ---- the beginning ---- */

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
        event_add(conn->in.event, NULL) < 0 || worker->stopping || !conn_watch_process(conn)) {
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
    conn->process_fd = -1;
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
