/* SPDX-License-Identifier: MIT */
/*
 * A client's connection: bytes to frames, frames to requests, replies to bytes. It lives on one
 * worker.
 *
 * It reads as long as what it holds for the client (payload in flight, replies unsent) stays within
 * CONN_BUFFERED_MAX; beyond, it waits for the client to read. A client that breaks the protocol is
 * told why, and closed: its socket at once, its sessions when their I/O has ended, the connection
 * after them.
 */
#ifndef BLKD_DAEMON_LINK_CONN_H
#define BLKD_DAEMON_LINK_CONN_H

#include <event2/event.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/limits.h"
#include "daemon/base/peer.h"
#include "daemon/device/session.h"
#include "daemon/link/outgoing.h"
#include "daemon/link/worker.h"

enum conn_state {
    CONN_GREETING, /* nothing but Hello is taken */
    CONN_SERVING,
    CONN_DRAINING, /* the daemon stops: no more is read, replies still leave */
    CONN_CLOSING,  /* the socket is closed; what is in flight ends */
};

LIST_HEAD(request_id_list, request);

enum { CONN_ID_BUCKETS = 32 };

struct conn {
    struct worker *worker;
    struct user *user;
    struct peer peer;
    uint64_t number;
    char client_name[CLIENT_NAME_MAX + 1];
    enum conn_state state;
    int fd;
    struct letter letter; /* brings it to its worker */
    LIST_ENTRY(conn) link;
    TAILQ_ENTRY(conn) touched_link;
    bool touched;
    struct event *read_event;
    struct event *write_event; /* while the socket takes no more */
    struct event *timer;

    /* Receiving. */
    uint8_t *stash; /* bytes that came and are not parsed yet: a part of a frame, or what waits for
                       room */
    size_t stash_bytes;
    struct request *receiving; /* its payload is coming */
    uint32_t skip_bytes;       /* of a payload that nobody wants */
    int pending_fd;            /* a descriptor that came and waits for its Open; or -1 */
    int later_fd; /* one that came together with the rest of that Open, for the next; or -1 */
    bool paused;
    bool large; /* the last payload was large: read little beyond the next one */
    uint64_t paused_at_ms;
    uint64_t
        frame_since_ms; /* when the first byte of an unfinished frame came; 0: none is under way */
    uint64_t frames;    /* complete ones */
    uint64_t frame_number;     /* the one that frame_since_ms speaks of */
    uint64_t blocked_since_ms; /* when the socket last refused to take a reply's bytes; 0: it takes
                                  them */
    uint64_t accepted_ms;
    uint64_t drained_ms; /* when it was told to end */
    uint64_t timer_due_ms;

    /* Sending. */
    struct outgoing_queue outgoing;
    size_t sent_bytes; /* of the first of them */
    size_t unsent_bytes;
    unsigned int unsent_frames;

    struct request_id_list ids[CONN_ID_BUCKETS]; /* requests that are not answered yet */
    unsigned int requests;                       /* how many */
    size_t buffered_bytes;
    struct session *sessions;     /* by number */
    struct session *last_session; /* that was looked up: mostly it is the next one too; or NULL */
    unsigned int session_count;
    unsigned int openings;
    unsigned int locks;      /* that its sessions hold */
    struct lock_party party; /* in a deadlock; under the lock domain's mutex */
    bool ring_feature;       /* Hello has agreed on FEATURE_RING */
    struct channel *channel; /* NULL: none was asked for */
    atomic_bool has_rings;   /* for lists, which other threads make */
    atomic_uint_fast64_t arena_bytes;
    struct watcher *watcher; /* NULL: it does not watch */
    uint64_t last_event;
    bool events_held; /* sessions or the watcher have some that wait for the client to read */
    struct helper_share helper_share;
};

/* On the main thread: a connection of an accepted socket, which becomes its own. 0 or a negative
 * errno (the socket is then still the caller's). It starts when conn_start's letter reaches its
 * worker. */
int conn_new(struct worker *worker, struct user *user, const struct peer *peer, int fd,
             struct conn **ret_conn);
void conn_start(struct conn *conn);

/* Closes the socket and lets go of everything, as far as I/O in flight allows. */
void conn_close(struct conn *conn);

/* Reads no more, lets the requests in flight end and their replies leave, then closes. */
void conn_drain(struct conn *conn);

/* Says why, if the socket takes it, logs it, and closes. `error`: a negative errno. */
void conn_refuse(struct conn *conn, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Has the connection looked at, at the end of the round: replies to send, room to read again, or,
 * when it is closing and nothing uses it any more, its end. Nothing else frees a connection. */
void conn_touch(struct conn *conn);

/* That look; the worker calls it. */
void conn_end_round(struct conn *conn);

struct session *conn_find_session(struct conn *conn, uint64_t number);
void conn_add_session(struct conn *conn, struct session *session);
void conn_remove_session(struct conn *conn, struct session *session);

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
    return conn->buffered_bytes < CONN_BUFFERED_MAX;
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

/* conn_receive.c */
void on_conn_readable(evutil_socket_t fd, short what, void *user_data);
void conn_resume(struct conn *conn);

/* conn_send.c: sends what the socket takes now. 0, or the negative errno of a socket that takes no
 * more; closing the connection is left to the end of the round, because who has a reply sent still
 * works with the connection's sessions. */
int conn_send(struct conn *conn);

/* conn_timer.c: sees to it that the nearest of the connection's time limits is watched. */
void conn_watch_time(struct conn *conn);
void on_conn_timer(evutil_socket_t fd, short event, void *user_data);

#endif
