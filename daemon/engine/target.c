/* SPDX-License-Identifier: MIT */
/*
 * What the transfers of one device share: an empty lane for each engine, and the threads of its
 * buffered writes.
 */
#include "daemon/engine/engine.h"

#include <assert.h>

#include "daemon/engine/writers.h"

void engine_target_init(struct engine_target *target)
{
    helper_share_init(&target->share, ENGINE_PER_DEVICE);
    for (unsigned int i = 0; i < WORKERS_MAX; i++) {
        target->lanes[i].running = 0;
        TAILQ_INIT(&target->lanes[i].waiting);
        TAILQ_INIT(&target->lanes[i].batch);
    }
    writers_init(target);
}

void engine_target_deinit(struct engine_target *target)
{
    writers_deinit(target);
    helper_share_deinit(&target->share);
    for (unsigned int i = 0; i < WORKERS_MAX; i++)
        assert(target->lanes[i].running == 0 && TAILQ_EMPTY(&target->lanes[i].waiting) &&
               TAILQ_EMPTY(&target->lanes[i].batch));
}
