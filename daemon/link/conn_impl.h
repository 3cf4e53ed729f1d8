/* SPDX-License-Identifier: MIT */
/* What the files of a connection have of each other; for this room only. */
#ifndef BLKD_DAEMON_LINK_CONN_IMPL_H
#define BLKD_DAEMON_LINK_CONN_IMPL_H

#include <event2/event.h>

#include "daemon/link/conn.h"

/* conn_receive.c: the socket has something. */
void on_conn_readable(evutil_socket_t fd, short what, void *user_data);
/* There is room again for what the client sends, if there is. */
void conn_resume(struct conn *conn);

/* conn_timer.c: sees to it that the nearest of the connection's time limits is watched. */
void conn_watch_time(struct conn *conn);
/* The timer has fired: whether a limit has passed, and what was waited for; if not, it is set
 * again. */
bool conn_is_overdue(struct conn *conn, const char **ret_what);

#endif
