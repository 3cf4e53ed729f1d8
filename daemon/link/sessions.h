/* SPDX-License-Identifier: MIT */
/* A connection's sessions, and what it does for them as their owner. On its worker. */
#ifndef BLKD_DAEMON_LINK_SESSIONS_H
#define BLKD_DAEMON_LINK_SESSIONS_H

#include "daemon/device/session.h"

struct conn;
struct request;

void sessions_init(struct conn *conn);

/* What the connection tells a new session of itself; it outlasts the session. */
void sessions_describe_client(struct conn *conn, struct session_client *ret_client);

/* Whose session it is. Any thread, as long as the session exists. */
struct conn *sessions_conn(const struct session *session);

/* NULL: the connection has no open session of that number. */
struct session *sessions_find(struct conn *conn, uint64_t number);
void sessions_add(struct conn *conn, struct session *session);

/* The session closes; `request` is answered when it is gone. */
void sessions_close(struct session *session, struct request *request);
void sessions_close_all(struct conn *conn);

/* What waits for others' locks is taken back: it would be waited for as long as those please. */
void sessions_cancel_waits(struct conn *conn);

/* The client reads again: sessions report what has happened meanwhile. */
void sessions_report(struct conn *conn);

#endif
