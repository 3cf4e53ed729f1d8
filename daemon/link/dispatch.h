/* SPDX-License-Identifier: MIT */
/*
 * From a decoded message to the verb that carries it out, by a table of operations with flags. The
 * table is the verbs'; the server has it.
 */
#ifndef BLKD_DAEMON_LINK_DISPATCH_H
#define BLKD_DAEMON_LINK_DISPATCH_H

#include <stdbool.h>

#include "proto/blkd.pb-c.h"

struct request;

enum operation_flags {
    OP_SESSION = 1,  /* names an open session of its connection */
    OP_PAYLOAD = 2,  /* takes a payload */
    OP_CHANGES = 4,  /* refused on a read-only session */
    OP_HELLO = 8,    /* allowed, and only then, as the first request */
    OP_ALIGNED = 16, /* offset and length are whole sectors, and the length is not 0 */
};

struct operation {
    const char *name;
    unsigned int flags;
    /* Copies what the verb needs; the message is gone afterwards. 0, or a negative errno that
     * refuses the request. */
    int (*prepare)(struct request *request, const Blkd__Request *message);
    /* Carries it out; ends the request now or later. */
    void (*run)(struct request *request);
};

struct operation_table {
    const struct operation *operations; /* by their numbers on the wire; some may be empty */
    unsigned int count;
};

/* The operation that the message names; NULL for one that this daemon does not know. */
const struct operation *dispatch_find(const struct operation_table *table,
                                      const Blkd__Request *message);

/* The same for a ring's submission (enum ring_operation). */
const struct operation *dispatch_find_ring(const struct operation_table *table,
                                           unsigned int number);

/* Checks what the operation's flags ask for, and runs it. Its payload has arrived. */
void dispatch_run(struct request *request);

#endif
