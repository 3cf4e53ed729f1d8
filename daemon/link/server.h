/* SPDX-License-Identifier: MIT */
/*
 * What all threads of the daemon share.
 */
#ifndef BLKD_DAEMON_LINK_SERVER_H
#define BLKD_DAEMON_LINK_SERVER_H

#include <stdatomic.h>
#include <stdint.h>

#include "daemon/base/helper.h"
#include "daemon/base/user.h"
#include "daemon/config.h"
#include "daemon/device/registry.h"
#include "daemon/link/watch.h"

struct state;
struct worker;

enum { SERVER_INSTANCE_BYTES = 16 };

struct server {
    const struct config *config;
    struct state *state; /* the opener's to close, after server_deinit */
    struct helper_pool *helpers;
    struct registry registry;
    struct user_table users;
    struct watch_hub watch;
    atomic_bool reserving; /* fencing tokens, ahead of time */
    struct helper_job reserve_job;
    struct worker *reserve_worker;
    struct worker *workers;
    unsigned int worker_count;
    struct mailbox mailbox; /* the main thread's: a worker that has ended says so here */
    uint8_t instance[SERVER_INSTANCE_BYTES];
    uint64_t session_epoch;
    atomic_uint_fast64_t last_connection;
    atomic_uint connections;
    const char *engine_name;
};

/* 0 or a negative errno. */
int server_init(struct server *server, const struct config *config, struct state *state);

/* Makes the workers with their engines, and starts them. 0 or a negative errno; -EINVAL: no such
 * engine. */
int server_start_workers(struct server *server);

/* Has another block of fencing tokens made durable if the one there is will soon be used up. On the
 * worker. */
void server_reserve_tokens(struct server *server, struct worker *worker);

/* After the workers have ended. */
void server_deinit(struct server *server);

#endif
