/* SPDX-License-Identifier: MIT */
/*
 * A client of the ring tier that shares no code with libblkd but the ring itself, so that it can do
 * what libblkd never would: everything that it has mapped and every number is open to the tests.
 *
 * Functions return 0 or a negative errno: the status that the daemon answered with; -ENOTCONN when
 * the connection is at its end; -ETIMEDOUT when nothing happens for PEER_WAIT_MS. One thread.
 */
#ifndef BLKD_TESTS_PEER_H
#define BLKD_TESTS_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/fdpass.h"
#include "common/ring.h"
#include "common/wire.h"

enum { PEER_WAIT_MS = 60 * 1000, PEER_KEPT_MAX = 8 };

struct peer {
    int socket;
    uint64_t next_id;
    uint8_t *frame; /* what was received last */
    struct wire_arena memory;
    /* Replies that nobody has asked for yet. */
    struct {
        uint64_t id;
        int status;
    } kept[PEER_KEPT_MAX];
    unsigned int ready_events; /* RingReady that have come */
    bool closed;
    int closed_for; /* the daemon's reason; 0: it gave none */
    /* Once peer_setup_ring has succeeded. */
    int rings_fd;
    int doorbell_fd;
    struct ring_layout layout;
    uint8_t *rings;
    struct ring_producer submissions;
    struct ring_consumer completions;
};

struct peer_arena {
    uint32_t number;
    int fd;
    uint8_t *base;
    size_t size_bytes;
};

/* Connects and says Hello. peer_disconnect is allowed, and does nothing, if that failed or was
 * done. */
int peer_connect(struct peer *peer, const char *socket_path);
/* Everything that is shared is unmapped and closed too. */
void peer_disconnect(struct peer *peer);
/* The socket only: what is mapped stays, but the daemon is told that it can have its memory. */
void peer_hang_up(struct peer *peer);
/* And is not told. */
void peer_hang_up_silently(struct peer *peer);
/* It needs nothing any more of what is in its shared memory. */
void peer_say_moved(struct peer *peer);

/* ---- requests on the socket ---- */

/* Sends it and returns its id; 0: the connection is at its end. */
uint64_t peer_start(struct peer *peer, Blkd__Request *request);
/* The answer to it. */
int peer_finish(struct peer *peer, uint64_t id);
/* Both. The reply is valid until the next call; *ret_fds are the caller's. NULL: not wanted. */
int peer_call(struct peer *peer, Blkd__Request *request, const Blkd__Reply **ret_reply,
              struct fdpass *ret_fds);
/* The answer, if it has come already; 1: it has not. */
int peer_poll(struct peer *peer, uint64_t id);

int peer_ping(struct peer *peer);
int peer_open(struct peer *peer, const Blkd__Config *config, uint64_t *ret_session);
int peer_close_session(struct peer *peer, uint64_t session);
int peer_lock(struct peer *peer, uint64_t session, Blkd__LockMode mode);

/* Until the daemon closes the connection: its reason, 0 if it gave none. */
int peer_await_close(struct peer *peer);

/* ---- shared memory ---- */

int peer_setup_ring(struct peer *peer, uint32_t entries);
int peer_add_arena(struct peer *peer, uint64_t size_bytes, struct peer_arena *ret_arena);
uint64_t peer_start_remove_arena(struct peer *peer, uint32_t number);
int peer_remove_arena(struct peer *peer, uint32_t number);
/* The client's side of it. */
void peer_arena_unmap(struct peer_arena *arena);

struct ring_words *peer_submission_words(struct peer *peer);
struct ring_words *peer_completion_words(struct peer *peer);
struct ring_submission *peer_submission_at(struct peer *peer, uint32_t place);

/* Publishes it, and rings the doorbell if the daemon sleeps. -EBUSY: the ring is full. */
int peer_submit(struct peer *peer, const struct ring_submission *submission);
/* Rings the doorbell without being asked. */
void peer_ring_doorbell(struct peer *peer);
/* Takes the next completion; with its message, which ends with a NUL, unless that is NULL. */
int peer_wait(struct peer *peer, struct ring_completion *ret_completion,
              char ret_message[RING_MESSAGE_BYTES]);
/* Both, with nothing else in flight: the completion's status. */
int peer_io(struct peer *peer, const struct ring_submission *submission);

#endif
