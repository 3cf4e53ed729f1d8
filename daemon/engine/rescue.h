/* SPDX-License-Identifier: MIT */
/*
 * A transfer that io_uring does not take any more, done by a thread of the engines' pool. It ends
 * in its engine's process, as one does that copies (engine_ops.post).
 */
#ifndef BLKD_DAEMON_ENGINE_RESCUE_H
#define BLKD_DAEMON_ENGINE_RESCUE_H

#include "daemon/engine/engine.h"

/* On the owner's thread. It draws on its target's share, as all that blocks does. */
void rescue_transfer(struct engine *engine, struct engine_io *io);

#endif
