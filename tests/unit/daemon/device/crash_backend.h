/* SPDX-License-Identifier: MIT */
/*
 * Storage in memory that knows what a crash would take away. Each change is numbered when it is
 * carried out; a block has the number of the change whose bytes it holds, and of the one whose
 * bytes would still be there after a crash.
 *
 * It is as mean as real storage may be: a sync makes durable exactly what had been carried out when
 * it was submitted; a FUA write makes nothing durable but itself; what a failed sync was to write
 * is lost for good, and a later sync says nothing of it (the kernel marks the pages clean).
 *
 * What is submitted is held until the test ends it, in whatever order.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_DEVICE_CRASH_BACKEND_H
#define BLKD_TESTS_UNIT_DAEMON_DEVICE_CRASH_BACKEND_H

#include "daemon/storage/backend.h"

enum { CRASH_BLOCKS = 8, CRASH_BLOCK_BYTES = 512, CRASH_HELD_MAX = 64 };

struct crash_block {
    uint64_t written; /* 0: nothing since the beginning */
    uint64_t durable;
    uint64_t syncing; /* what the sync that runs will make durable */
    bool dirty;       /* the next sync will write it */
};

struct crash_backend {
    struct backend backend; /* first */
    struct crash_block blocks[CRASH_BLOCKS];
    uint64_t changes; /* number of the last one that was carried out */
    struct io *held[CRASH_HELD_MAX];
    unsigned int held_count;
    unsigned int syncs_held;
    bool syncs_overlapped; /* two syncs at once: the ledger never wants that */
    bool closed;
};

void crash_backend_init(struct crash_backend *crash);

/* Ends one that is held, with 0 or a negative errno. A change's io->value is then its number; one
 * that fails is carried out in its first block only, for who can tell. */
void crash_backend_end(struct crash_backend *crash, unsigned int index, int result);

/* The blocks of a change, both included. */
unsigned int crash_first_block(const struct io *io);
unsigned int crash_last_block(const struct io *io);

#endif
