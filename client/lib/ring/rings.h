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
 * Everything here is called with the connection's mutex held. Submissions are made by whoever has
 * it. Completions are taken by the thread that reads or while nobody reads, as what comes from the
 * socket is. While completions are not looked for, their consumer is asleep as seen by the daemon,
 * which then sends RingReady on the socket: so a descriptor becomes readable.
 *
 * Memory of the program that lies in an arena of `shared` is named to the daemon; all other is
 * copied through `bounce`, an arena that nobody else gets pages of.
 */
#ifndef BLKD_CLIENT_LIB_RING_RINGS_H
#define BLKD_CLIENT_LIB_RING_RINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/blkd.h"
#include "client/lib/call/call.h"
#include "client/lib/call/request.h"
#include "client/lib/ring/arenas.h"
#include "common/ring.h"

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

/* Whether there are rings. Under the connection's mutex. */
struct rings_setup {
    enum blkd_tier tier; /* constant */
    bool offered;        /* the daemon's Hello; constant from then on */
    enum rings_state state;
    uint32_t answers_awaited; /* while ASKED */
    int error;                /* why REFUSED */
    char reason[RINGS_REASON_MAX];
};

/* The rings themselves, once READY. Under the connection's mutex, except that the thread that reads
 * may look at `completions` and put itself to sleep in it without. */
struct rings_memory {
    int doorbell; /* -1: none */
    uint8_t *base;
    struct ring_layout layout; /* of what is at `base` */
    struct ring_producer submissions;
    struct ring_consumer completions;
    uint32_t in_flight;
    bool asleep; /* the consumer, as told to the daemon */
    bool broken; /* the daemon's index makes no sense: the next rings_reap loses the connection */
};

struct rings {
    struct call_table *calls;        /* constant */
    struct request_table *requests;  /* constant */
    struct descriptors *descriptors; /* constant: those of the rings come here */
    struct rings_setup setup;
    struct rings_memory memory;
    struct arenas shared;
    struct arenas bounce;
};

void rings_init(struct rings *rings, enum blkd_tier tier, struct call_table *calls,
                struct request_table *requests, struct descriptors *descriptors);
/* Unmaps everything; no call is left, and the doorbell is closed. */
void rings_deinit(struct rings *rings);

/* ---- set-up (setup.c) ---- */

/* Which way a call that could go by ring takes: 1 by ring, 0 by socket, or a negative errno with
 * setup.reason: there must be rings, and there are none. Submits the requests for them if nobody
 * has. */
int rings_choose(struct rings *rings);

/* ---- on the way out (send.c) ---- */

/* Submits what can be submitted now, and wakes the daemon if it has to be. 0, or -EPROTO: the
 * daemon's index makes no sense; rings_reap is to be called, as soon as it may be. */
int rings_push(struct rings *rings);

/* ---- on the way in (reap.c) ---- */

/* Takes what is complete. Loses the connection for what makes no sense. */
void rings_reap(struct rings *rings);

/* Whether completions can be waited for at all. */
static inline bool rings_ready(const struct rings *rings)
{
    return rings->setup.state == RINGS_READY;
}

/* Nobody will look at the ring for a while. False: something is complete already, and the daemon
 * was told nothing. */
bool rings_sleep(struct rings *rings);
/* Somebody looks at the ring now: no wake-up is needed. */
void rings_wake(struct rings *rings);

/* The connection is lost: nothing is in flight any more. Memory stays, but the daemon is told that
 * it can take its pages back: nobody needs what is in them. */
void rings_lose(struct rings *rings);

#endif
