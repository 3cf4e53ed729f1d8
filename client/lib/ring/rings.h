/* SPDX-License-Identifier: MIT */
/*
 * The fast way to the daemon: a connection's rings (common/ring.h), and the memory that is shared
 * for them. They are asked for through the socket by the first call that could use them:
 *
 *   NONE -> ASKED -> READY
 *                 -> REFUSED
 *
 * and neither READY nor REFUSED ends. Calls that could go by ring go by socket until READY, unless
 * the program wants nothing but rings: then they wait in the backlog.
 *
 * Submissions are made by whoever has the mutex. Completions are taken, with the mutex held, by the
 * thread that reads or while nobody reads, as what comes from the socket is. When nobody reads and
 * something is in flight, the completion ring's consumer is asleep as seen by the daemon, which
 * then sends RingReady on the socket: so the descriptor that the program polls becomes readable.
 *
 * Memory of the program that lies in one of connection->arenas is named to the daemon; all other is
 * copied through `bounce`, an arena that nobody else gets pages of.
 */
#ifndef BLKD_CLIENT_LIB_RING_RINGS_H
#define BLKD_CLIENT_LIB_RING_RINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/blkd.h"
#include "client/lib/ring/arena.h"
#include "common/ring.h"

struct blkd;
struct call;

enum rings_state {
    RINGS_NONE,
    RINGS_ASKED,
    RINGS_READY,
    RINGS_REFUSED,
};

enum {
    RINGS_BOUNCE_BYTES = 2 * 1024 * 1024,
    /* Of bounce memory that one part takes: the copy of one part and the transfer of another can go
       on at the same time. */
    RINGS_BOUNCE_PART_BYTES = 256 * 1024,
    /* A shorter run of shared memory in the midst of a list is cheaper copied, together with its
       neighbours, than named in a submission of its own. */
    RINGS_COPY_BYTES = 4096,
    /* After copying so much the daemon is shown what there is, before the next is copied. */
    RINGS_SHOW_BYTES = 16 * 1024,
    RINGS_REASON_MAX = 512,
};

struct rings {
    enum blkd_tier tier; /* constant */
    bool offered;        /* the daemon's Hello; constant from then on */
    enum rings_state state;
    uint32_t answers_awaited; /* while ASKED */
    int error;                /* why REFUSED */
    char reason[RINGS_REASON_MAX];
    bool broken; /* the daemon's index makes no sense: the thread that reads loses the connection */

    int doorbell; /* -1: none */
    uint8_t *memory;
    struct ring_layout layout; /* of `memory` */
    struct ring_producer submissions;
    struct ring_consumer completions;
    uint32_t in_flight;
    bool asleep; /* the consumer, as told to the daemon */
    struct arena_set bounce;
};

void rings_init(struct rings *rings, enum blkd_tier tier);
/* Unmaps everything; no call is left, and the doorbell is closed. */
void rings_deinit(struct rings *rings);

/* ---- set-up and arenas (ring_setup.c, ring_arena.c); mutex held ---- */

/* Which way a call that could go by ring takes: 1 by ring, 0 by socket, or a negative errno with
 * rings->reason: there must be rings, and there are none. Asks the daemon for them if nobody has.
 */
int rings_choose(struct blkd *connection);

/* One of the answers that READY needs has come: 0, or why it is REFUSED. */
void rings_answered(struct blkd *connection, int error, const char *reason);

/* Maps shared memory that the daemon has sent and closes its descriptor, whether it succeeds or
 * not. A child of fork does not get the mapping. 0, -EPROTO (it is smaller than size_bytes, or
 * fd is -1) or a negative errno. */
int ring_map(int fd, size_t size_bytes, void **ret_memory);
void ring_unmap(void *memory, size_t size_bytes);

/* A call that asks for the arena `bounce`, with nobody to wait for it. NULL: no memory. */
struct call *ring_new_bounce_call(struct blkd *connection);

/* The daemon gives an arena of at least size_bytes, which becomes part of connection->arenas (and
 * never of `bounce`); rings are set up if they are not yet. Waits, the mutex given up meanwhile:
 * not inside a callback. 0, -EDQUOT, -EOPNOTSUPP (no rings here), -ENOTCONN, -ENOMEM, -ENOSPC,
 * -EPROTO. */
int ring_add_arena(struct blkd *connection, size_t size_bytes);

/* Gives back an arena of connection->arenas of which nothing is in use; unmapped at once, whatever
 * the daemon says. Does not wait. 0, or -ENOMEM: it is still there. */
int ring_remove_arena(struct blkd *connection, struct arena *arena);

/* ---- on the way (ring_send.c, ring_reap.c); mutex held ---- */

/* Submits what can be submitted now, and wakes the daemon if it has to be. */
void rings_push(struct blkd *connection);

/* Takes what is complete. By the thread that reads, or while nobody reads. */
void rings_reap(struct blkd *connection);

/* The same; then what has waited for those is sent: it may be all that is left to wait for. */
void rings_advance(struct blkd *connection);

/* Whether completions can be waited for at all. */
static inline bool rings_ready(const struct rings *rings)
{
    return rings->state == RINGS_READY;
}

/* Somebody looks at the ring now: no wake-up is needed. As rings_reap. */
void rings_wake(struct rings *rings);

/* The library is being left: if nobody reads, the daemon is told to wake whoever polls. */
void rings_rest(struct blkd *connection);

/* The connection is lost: nothing is in flight any more. Memory stays. */
void rings_lose(struct rings *rings);

#endif
