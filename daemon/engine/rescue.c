/* SPDX-License-Identifier: MIT */
#include "daemon/engine/rescue.h"

#include "common/container.h"
#include "daemon/engine/impl.h"
#include "daemon/engine/pool.h"

static void rescue_run(struct helper_job *job)
{
    struct engine_io *io = CONTAINER_OF(job, struct engine_io, job);

    io->result = engine_transfer(io);
}

/* On the pool's thread, when the job's share is free again. */
static void on_rescue_done(struct helper_job *job)
{
    struct engine_io *io = CONTAINER_OF(job, struct engine_io, job);
    struct engine_io_queue ended = TAILQ_HEAD_INITIALIZER(ended);

    TAILQ_INSERT_TAIL(&ended, io, link);
    io->home->ops->post(io->home, &ended);
}

void rescue_transfer(struct engine *engine, struct engine_io *io)
{
    io->home = engine;
    io->job = (struct helper_job){
        .run = rescue_run,
        .on_done = on_rescue_done,
        .shares = {&io->target->share},
    };
    helper_submit(engine_pool(), &io->job);
}
