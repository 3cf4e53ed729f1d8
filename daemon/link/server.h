/* SPDX-License-Identifier: MIT */
/*
 * What all threads of the daemon share, and the workers among them.
 */
#ifndef BLKD_DAEMON_LINK_SERVER_H
#define BLKD_DAEMON_LINK_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/helper.h"
#include "daemon/base/user.h"
#include "daemon/device/registry.h"
#include "daemon/link/limits.h"
#include "daemon/link/watch.h"

struct operation_table;
struct state;
struct worker;

enum { SERVER_INSTANCE_BYTES = 16 };

struct server {
    /* Constant once the workers run. */
    struct limits limits;
    const struct operation_table *operations; /* what a request may ask for (dispatch.h) */
    struct state *state;                      /* the opener's to close, after server_deinit */
    struct helper_pool *helpers;
    struct worker *workers;
    unsigned int worker_count;
    struct io_loop **loops; /* the workers', for the registry */
    uint8_t instance[SERVER_INSTANCE_BYTES];
    uint64_t session_epoch;
    const char *engine_name;
    const char *version; /* of the program */
    unsigned int watched_max;

    /* Each under its own mutex. */
    struct registry registry;
    struct user_table users;
    struct watch_hub watch;
    struct mailbox mailbox; /* the main thread's: a worker that has ended says so here */

    /* Any thread. */
    atomic_uint_fast64_t last_connection;
    atomic_uint connections;
    atomic_uint watched;        /* clients' processes, at most watched_max */
    atomic_bool unwatched_said; /* that a client's process cannot be watched */
};

struct server_options {
    struct limits limits;
    const struct operation_table *operations;
    struct state *state;
    unsigned int workers;
    const char *engine;  /* as engine_new takes it */
    const char *version; /* of the program, for Hello */
};

/* 0 or a negative errno. */
int server_init(struct server *server, const struct server_options *options);

/* Makes the workers with their engines, and starts them. 0 or a negative errno; -EINVAL: no such
 * engine. `on_worker_ended` gets from server.mailbox the ended_letter of each worker whose thread
 * has ended. */
int server_start(struct server *server, const struct server_options *options,
                 void (*on_worker_ended)(struct letter *letter));

/* After the workers have ended. */
void server_deinit(struct server *server);

#endif
