/* SPDX-License-Identifier: MIT */
/*
 * A set of arenas (arena.h) with the way by which they come from the daemon and go back to it: the
 * requests AddArena and RemoveArena. With the connection's mutex held; nothing here sends or waits.
 */
#ifndef BLKD_CLIENT_LIB_RING_ARENAS_H
#define BLKD_CLIENT_LIB_RING_ARENAS_H

#include "client/lib/base/descriptors.h"
#include "client/lib/call/call.h"
#include "client/lib/ring/arena.h"

/* Under the connection's mutex. */
struct arenas {
    struct arena_set set;
    struct call_table *calls;        /* constant */
    struct descriptors *descriptors; /* constant: those of arenas come here */
    bool scratch; /* constant: nothing in them has to outlive the connection. Otherwise their
                     descriptors are kept for buffers_move */
    /* A request for an arena has been answered; constant, may be NULL. */
    void (*on_answer)(struct arenas *arenas, const struct call_result *result);
};

void arenas_init(struct arenas *arenas, bool scratch, struct call_table *calls,
                 struct descriptors *descriptors,
                 void (*on_answer)(struct arenas *, const struct call_result *));
/* Unmaps all of them. */
void arenas_deinit(struct arenas *arenas);

/* A call, to be submitted, that asks for an arena of at least size_bytes for the set, with nobody
 * to hear of its end unless its mode is changed. It ends with 0, -EPROTO, -ENOMEM, -ENOSPC
 * (arena_add) or what the daemon says. NULL: no memory. */
struct call *arenas_new_call(struct arenas *arenas, size_t size_bytes);

/* Gives back an arena of which nothing is in use; unmapped at once, whatever the daemon says. The
 * request is submitted. 0, or -ENOMEM: the arena is still there. */
int arenas_remove(struct arenas *arenas, struct arena *arena);

#endif
