/* SPDX-License-Identifier: MIT */
/*
 * Fencing tokens ahead of time: the next block is made durable before the one in use is used up, so
 * that a grant seldom waits for the disk.
 */
#ifndef BLKD_DAEMON_DEVICE_TOKENS_H
#define BLKD_DAEMON_DEVICE_TOKENS_H

#include <stdatomic.h>

#include "daemon/base/loop.h"

struct state;

struct tokens {
    struct state *state; /* constant */
    atomic_bool reserving;

    /* Of who is reserving. */
    struct helper_job job;
    struct loop *loop;
};

void tokens_init(struct tokens *tokens, struct state *state);

/* Reserves another block if the one in use will soon be used up and nobody reserves one already.
 * On the loop's thread; does not wait. */
void tokens_reserve_ahead(struct tokens *tokens, struct loop *loop);

#endif
