/* SPDX-License-Identifier: MIT */
/*
 * A piece of memory that is shared with a client: a sealed memfd of the daemon's own making, mapped
 * here. It is made and given back on helper threads, because clearing megabytes takes its time, and
 * counts toward its user's quota from before the one until after the other.
 *
 * The client gets a descriptor of the memfd and may keep it: so giving back punches all pages out.
 * The seals keep it from being shrunk. While a client has it, it can punch pages out itself: then a
 * touch here may find none (sigbus.h).
 */
#ifndef BLKD_DAEMON_LINK_PIECE_H
#define BLKD_DAEMON_LINK_PIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/helper.h"
#include "daemon/engine/engine.h"

struct sigbus_area;
struct user;
struct worker;

enum { PIECE_PAGE_BYTES = 4096 };

struct piece {
    uint8_t *base;
    size_t size_bytes;
    int fd;
    struct engine_memory memory; /* its owner's, once it is made */
    struct sigbus_area *area;

    /* Private. */
    struct worker *worker;
    struct user *user; /* a reference */
    void (*on_made)(struct piece *piece, void *user_data, int error);
    void *user_data;
    struct helper_job job;
    int error;
    bool keep_pages; /* given back by a daemon that stops */
};

/*
 * Makes a piece of size_bytes (whole pages). Returns 0: on_made follows on `worker`, with 0, or
 * with a negative errno and a piece that is freed when it returns. Or -EDQUOT: the user has too
 * much; or -ENOMEM. `share` bounds how many are made at once, and outlasts on_made.
 */
int piece_make(struct worker *worker, struct user *user, struct helper_share *share,
               size_t size_bytes, void (*on_made)(struct piece *piece, void *user_data, int error),
               void *user_data);

/* Gives it back: nothing uses it any more, and no engine has it registered. Takes NULL. */
void piece_give_back(struct piece *piece);

#endif
