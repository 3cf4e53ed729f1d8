/* SPDX-License-Identifier: MIT */
/*
 * The program's arenas: asking the daemon for one, and giving one back. Mutex held.
 */
#ifndef BLKD_CLIENT_LIB_CORE_MEMORY_H
#define BLKD_CLIENT_LIB_CORE_MEMORY_H

#include <stddef.h>

#include "client/lib/ring/arena.h"

struct blkd;

/* The daemon gives an arena of at least size_bytes, which becomes part of rings.shared; rings are
 * set up if they are not yet. Waits, the mutex given up meanwhile: not inside a callback. 0,
 * -EDQUOT, -EOPNOTSUPP (no rings here), -ENOTCONN, -ENOMEM, -ENOSPC, -EPROTO. */
int memory_add_arena(struct blkd *connection, size_t size_bytes);

/* Gives back an arena of rings.shared of which nothing is in use; unmapped at once, whatever the
 * daemon says. Does not wait. 0, or -ENOMEM: it is still there. */
int memory_remove_arena(struct blkd *connection, struct arena *arena);

#endif
