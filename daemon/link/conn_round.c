/* SPDX-License-Identifier: MIT */
/* What is done for a connection at the end of a round of its worker, and its last end. */
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/link/channel.h"
#include "daemon/link/conn_impl.h"
#include "daemon/link/sessions.h"

static void conn_close_process(struct conn *conn)
{
    if (conn->process_fd < 0)
        return;
    (void)close(TAKE_FD(conn->process_fd));
    atomic_fetch_sub(&conn->worker->server->watched, 1);
}

static void conn_free(struct conn *conn)
{
    struct server *server = conn->worker->server;
    LIST_REMOVE(conn, link);
    if (conn->channel != NULL)
        conn->channel = channel_free(conn->channel, TAKE_FD(conn->process_fd));
    conn_close_process(conn);
    helper_share_deinit(&conn->helper_share);
    user_remove_connection(&server->users, conn->user);
    conn->user = user_unref(&server->users, conn->user);
    atomic_fetch_sub(&server->connections, 1);
    free(conn->in.stash);
    free(conn);
}

static void conn_release_events(struct conn *conn)
{
    if (!conn->out.events_held || conn_is_backed_up(conn))
        return;
    conn->out.events_held = false;
    sessions_report(conn);
    watch_send(conn->watcher);
}

void conn_end_round(struct conn *conn)
{
    TAILQ_REMOVE(&conn->worker->touched, conn, touched_link);
    conn->touched = false;
    if (conn->state == CONN_DRAINING && conn->channel != NULL)
        channel_tell_client(conn->channel); /* before the connection ends */
    if (conn->broken != 0)
        conn_refuse(conn, conn->broken, "out of memory");
    if (conn_send(conn) < 0)
        conn_close(conn);
    conn_release_events(conn);
    conn_resume(conn);
    if (conn->state == CONN_DRAINING && conn->requests.count == 0 && STAILQ_EMPTY(&conn->out.queue))
        conn_close(conn);
    /* Sessions, openings and requests each keep the connection until they have ended. */
    if (conn->state == CONN_CLOSING && conn->sessions.by_number == NULL &&
        conn->requests.count == 0 && conn->sessions.openings == 0 && !conn->touched)
        conn_free(conn);
}
