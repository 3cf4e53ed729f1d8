/* SPDX-License-Identifier: MIT */
/*
 * Threads for the writes of one device that usually only copy into the page cache
 * (engine_io.copies), but block when the disk is sick or the cache is full. A file takes such
 * writes one at a time (ext4 and others hold the inode's lock), so one thread at a time does them:
 * it is handed a whole batch with one wake-up, gives back what it has done in groups, and
 * goes when there is nothing to do. What it has done before a write that hangs is given back with
 * that one.
 *
 * Only where a write takes long a further thread joins, up to ENGINE_PER_DEVICE of them: a hung
 * device holds so many and no more. They are jobs of the pool (pool.h) and draw on the target's
 * share.
 */
#ifndef BLKD_DAEMON_ENGINE_WRITERS_H
#define BLKD_DAEMON_ENGINE_WRITERS_H

#include "daemon/engine/impl.h"

void writers_init(struct engine_target *target);
void writers_deinit(struct engine_target *target); /* as engine_target_deinit */

/* Owner's thread: takes the write, which the next kick hands over with all others. */
void writers_add(struct engine *engine, struct engine_io *io);
void writers_kick(struct engine *engine);

#endif
