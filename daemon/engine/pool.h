/* SPDX-License-Identifier: MIT */
/*
 * The threads behind all engines of the process, and the one thing that they do: a transfer that
 * may block. They are there from engine_global_init to engine_global_deinit.
 */
#ifndef BLKD_DAEMON_ENGINE_POOL_H
#define BLKD_DAEMON_ENGINE_POOL_H

#include <sys/types.h>

#include "daemon/base/helper.h"
#include "daemon/engine/engine.h"

struct helper_pool *engine_pool(void);

/* One transfer on the calling thread: bytes, or a negative errno that is not -EINTR. */
ssize_t engine_transfer(const struct engine_io *io);

#endif
