/* SPDX-License-Identifier: MIT */
/*
 * The shared memory of a connection that has ended, as long as its client may need what is in it:
 * data that the program had in its buffers. libblkd moves that to memory of the process when it
 * learns of the end, and says so (ring_set_moved). The pages are taken back
 *
 *   when the client has said that it has moved, or
 *   when its process has ended, or
 *   after PARTING_MS,
 *
 * whichever is first: a client can only lose its own data by a lie, and keep no more than its
 * user's quota, in which the memory still counts. A daemon that stops leaves the pages to who has
 * them mapped (piece.h).
 */
#ifndef BLKD_DAEMON_LINK_PARTING_H
#define BLKD_DAEMON_LINK_PARTING_H

#include <sys/queue.h>

#include "common/limits.h"

struct parting;
struct piece;
struct worker;

LIST_HEAD(parting_list, parting);

/* What is left of a connection; taken over: NULL and -1 where there is nothing. */
struct parting_estate {
    struct piece *rings; /* NULL: the client cannot say that it has moved */
    struct piece *arenas[ARENAS_PER_CONNECTION];
    int doorbell_fd;
    int process_fd; /* counted in server.watched */
};

/* Nothing in the daemon uses the memory any more, and no engine has it registered. Without memory
 * to wait with it is taken back at once. On the worker's thread. */
void parting_begin(struct worker *worker, const struct parting_estate *estate);

/* The worker stops: none waits any longer. */
void parting_end_all(struct worker *worker);

#endif
