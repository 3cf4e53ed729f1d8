/* SPDX-License-Identifier: MIT */
/*
 * A client's connection: bytes to frames, frames to requests, replies to bytes. It lives on one
 * worker, whose thread alone touches it, unless said otherwise.
 *
 * It reads as long as what it holds for the client (payload in flight, replies unsent) stays within
 * CONN_BUFFERED_MAX; beyond, it waits for the client to read. A client that breaks the protocol is
 * told why, and closed: its socket at once, its sessions when their I/O has ended, the connection
 * after them.
 */
#ifndef BLKD_DAEMON_LINK_CONN_H
#define BLKD_DAEMON_LINK_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/limits.h"
#include "daemon/base/peer.h"
#include "daemon/device/session.h"
#include "daemon/link/outgoing.h"
#include "daemon/link/worker.h"

struct request;

enum conn_state {
    CONN_GREETING, /* nothing but Hello is taken */
    CONN_SERVING,
    CONN_DRAINING, /* the daemon stops: no more is read, replies still leave */
    CONN_CLOSING,  /* the socket is closed; what is in flight ends */
};

LIST_HEAD(request_id_list, request);

enum { CONN_ID_BUCKETS = 32 };

/* What comes (conn_receive.c). */
struct conn_input {
    struct event *event;
    uint8_t *stash; /* bytes that came and are not parsed yet: a part of a frame, or what waits for
                       room */
    size_t stash_bytes;
    struct request *receiving; /* its payload is coming */
    uint32_t skip_bytes;       /* of a payload that nobody wants */
    int pending_fd;            /* a descriptor that came and waits for its Open; or -1 */
    int later_fd; /* one that came together with the rest of that Open, for the next; or -1 */
    bool paused;
    bool large;      /* the last payload was large: read little beyond the next one */
    uint64_t frames; /* complete ones */
};

/* What goes (conn_send.c). */
struct conn_output {
    struct event *event; /* while the socket takes no more */
    struct outgoing_queue queue;
    size_t sent_bytes; /* of the first of them */
    size_t unsent_bytes;
    unsigned int unsent_frames;
    uint64_t last_event; /* its number */
    bool events_held;    /* sessions or the watcher have some that wait for the client to read */
};

/* Since when what waits for the client has waited (conn_timer.c); in clock_ms, 0: it does not wait.
 */
struct conn_times {
    struct event *timer;
    uint64_t due_ms; /* when the timer fires */
    uint64_t accepted_ms;
    uint64_t frame_since_ms;   /* the first byte of an unfinished frame came */
    uint64_t frame_number;     /* the one that frame_since_ms speaks of */
    uint64_t blocked_since_ms; /* the socket last refused to take a reply's bytes */
    uint64_t paused_at_ms;
    uint64_t drained_ms; /* it was told to end */
};

/* Requests that are not answered yet. */
struct conn_requests {
    struct request_id_list ids[CONN_ID_BUCKETS];
    unsigned int count;
    size_t buffered_bytes; /* that they and their replies hold */
};

/* The sessions, and the connection as their owner (sessions.c). */
struct conn_sessions {
    struct session_owner owner;
    struct session *by_number;
    struct session *last; /* that was looked up: mostly it is the next one too; or NULL */
    unsigned int count;
    unsigned int openings;
    unsigned int locks;      /* that they hold */
    struct lock_party party; /* in a deadlock; under the lock domain's mutex */
};

/* For lists, which other threads make. */
struct conn_shown {
    atomic_bool has_rings;
    atomic_uint_fast64_t arena_bytes;
};

struct conn {
    /* Constant, but for the name, which Hello sets. */
    struct worker *worker;
    struct user *user;
    struct peer peer;
    uint64_t number;
    char client_name[CLIENT_NAME_MAX + 1];
    struct helper_share helper_share;

    enum conn_state state;
    int fd;
    int process_fd; /* the process that connected; -1: it is not watched */
    struct event *process_event;
    int broken;           /* 0, or why it ends with this round (conn_break) */
    struct letter letter; /* brings it to its worker */
    LIST_ENTRY(conn) link;
    TAILQ_ENTRY(conn) touched_link;
    bool touched;

    struct conn_input in;
    struct conn_output out;
    struct conn_times times;
    struct conn_requests requests;
    struct conn_sessions sessions;
    struct conn_shown shown;
    bool ring_feature;       /* Hello has agreed on FEATURE_RING */
    struct channel *channel; /* NULL: none was asked for */
    struct watcher *watcher; /* NULL: it does not watch */
};

/* ---- conn_start.c ---- */

/* On the main thread: a connection of an accepted socket, which becomes its own. 0 or a negative
 * errno (the socket is then still the caller's). It starts when conn_start's letter reaches its
 * worker. */
int conn_new(struct worker *worker, struct user *user, const struct peer *peer, int fd,
             struct conn **ret_conn);
void conn_start(struct conn *conn);

/* ---- conn_close.c ---- */

/* Closes the socket and lets go of everything, as far as I/O in flight allows. */
void conn_close(struct conn *conn);

/* Reads no more, lets the requests in flight end and their replies leave, then closes. */
void conn_drain(struct conn *conn);

/* Says why, if the socket takes it, logs it, and closes. `error`: a negative errno. */
void conn_refuse(struct conn *conn, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- conn_round.c ---- */

/* What is to be done for a connection that was touched, at the end of the round; nothing else frees
 * a connection. */
void conn_end_round(struct conn *conn);

/* ---- conn.c ---- */

/* Has the connection looked at, at the end of the round: replies to send, room to read again, or,
 * when it is closing and nothing uses it any more, its end. */
void conn_touch(struct conn *conn);

/* It cannot go on, for want of memory: it is refused with `error` at the end of the round. */
void conn_break(struct conn *conn, int error);

/* Whether a request with this id is unanswered. */
bool conn_has_request(const struct conn *conn, uint64_t id);
void conn_add_request(struct conn *conn, struct request *request);
void conn_remove_request(struct conn *conn, struct request *request);

/* Counts bytes held for the client, all that a request and its reply allocate; conn_credit may let
 * it be read again. */
void conn_charge(struct conn *conn, struct request *request, size_t bytes);
void conn_credit(struct conn *conn, struct request *request);

/* Whether what is held for the client leaves room for more. */
static inline bool conn_has_room(const struct conn *conn)
{
    return conn->requests.buffered_bytes < CONN_BUFFERED_MAX;
}

/* How many of its requests came by its channel, which has a bound of its own. */
unsigned int conn_in_rings(const struct conn *conn);

/* Queues a frame; it leaves at the end of the round. A closing connection drops it. */
void conn_queue(struct conn *conn, struct outgoing *outgoing);
/* Whether the client is behind with reading, so that events are better held back. */
bool conn_is_backed_up(const struct conn *conn);
void conn_queue_event(struct conn *conn, Blkd__Event *event);
/* The connection's next event as a reply, for who queues its frame himself. */
void conn_number_event(struct conn *conn, Blkd__Event *event, Blkd__Reply *reply);

/* The descriptor that came with the Open that is parsed now, for the caller to close; -1: none. */
int conn_take_descriptor(struct conn *conn);

/* ---- conn_send.c ---- */

/* Sends what the socket takes now. 0, or the negative errno of a socket that takes no more; closing
 * the connection is left to the end of the round, because who has a reply sent still works with the
 * connection's sessions. */
int conn_send(struct conn *conn);

#endif
