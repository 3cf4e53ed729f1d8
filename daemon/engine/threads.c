/* SPDX-License-Identifier: MIT */
/*
 * The engine of threads: each transfer is a job for a pool that the engines of all workers share,
 * and ends as a letter in the engine's own mailbox. For where io_uring is refused.
 *
 * A transfer draws on its target's share, so that a hung device holds ENGINE_PER_DEVICE threads and
 * no more. The job goes to the pool at engine_submit; there is nothing left to kick.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "daemon/engine/impl.h"
#include "daemon/engine/pool.h"
#include "daemon/engine/writers.h"

/* All members: the owner's thread; `pool` is constant, and `box` takes letters from any thread. */
struct engine_threads {
    struct engine engine;
    struct helper_pool *pool;
    struct mailbox box;
    unsigned int done; /* in this round of process, beyond the number of letters */
};

static struct engine_threads *threads_of(const struct engine *engine)
{
    return (struct engine_threads *)(uintptr_t)engine;
}

static struct engine_io *io_of_job(struct helper_job *job)
{
    return (struct engine_io *)(void *)((char *)job - offsetof(struct engine_io, job));
}

static void threads_run(struct helper_job *job)
{
    struct engine_io *io = io_of_job(job);

    io->result = engine_transfer(io);
}

static void on_threads_done(struct helper_job *job)
{
    struct engine_io *io = io_of_job(job);

    engine_finish(io, io->result);
}

static void threads_submit(struct engine *engine, struct engine_io *io)
{
    if (io->copies) {
        writers_add(engine, io);
        return;
    }
    io->job = (struct helper_job){
        .run = threads_run,
        .on_done = on_threads_done,
        .reply_to = &threads_of(engine)->box,
        .shares = {&io->target->share},
    };
    helper_submit(threads_of(engine)->pool, &io->job);
}

static void threads_kick(struct engine *engine)
{
    writers_kick(engine);
}

/* One letter for all of them: the first one's. */
static void on_threads_posted(struct letter *letter)
{
    struct helper_job *job =
        (struct helper_job *)(void *)((char *)letter - offsetof(struct helper_job, letter));
    struct engine_io *io = io_of_job(job);
    struct engine_threads *threads = threads_of(io->home);

    threads->done--; /* mailbox_drain counts the letter */
    while (io) {
        struct engine_io *next = TAILQ_NEXT(io, link);
        engine_finish(io, io->result);
        threads->done++;
        io = next;
    }
}

static void threads_post(struct engine *engine, struct engine_io_queue *ended)
{
    struct engine_io *first = TAILQ_FIRST(ended);

    TAILQ_INIT(ended);
    first->job.letter.deliver = on_threads_posted;
    mailbox_post(&threads_of(engine)->box, &first->job.letter);
}

static bool threads_ready(struct engine *engine)
{
    return mailbox_ready(&threads_of(engine)->box);
}

static unsigned int threads_process(struct engine *engine)
{
    struct engine_threads *threads = threads_of(engine);

    threads->done = 0;
    unsigned int letters = mailbox_drain(&threads->box);
    return letters + threads->done;
}

static int threads_fd(const struct engine *engine)
{
    return mailbox_fd(&threads_of(engine)->box);
}

/* Nothing to do: a killed process does not end before each of its threads has come back from its
 * system call, and the descriptors of all are closed by the last one. */
static int threads_pin(struct engine *engine, struct engine_pin *pin, const int *fds,
                       unsigned int count)
{
    (void)engine;
    (void)pin;
    (void)fds;
    (void)count;
    return 0;
}

static void threads_unpin(struct engine *engine, struct engine_pin *pin)
{
    (void)engine;
    (void)pin;
}

static void threads_free(struct engine *engine)
{
    mailbox_deinit(&threads_of(engine)->box);
    engine_deinit(engine);
    free(engine);
}

static const struct engine_ops threads_ops = {
    .name = "threads",
    .free = threads_free,
    .submit = threads_submit,
    .kick = threads_kick,
    .ready = threads_ready,
    .process = threads_process,
    .fd = threads_fd,
    .post = threads_post,
    .pin = threads_pin,
    .unpin = threads_unpin,
};

int threads_new(struct engine **ret_engine)
{
    CLEANUP_FREE struct engine_threads *threads = calloc(1, sizeof(*threads));
    if (!threads)
        return -ENOMEM;

    int error = engine_init(&threads->engine, &threads_ops);
    if (error < 0)
        return error;
    error = mailbox_init(&threads->box);
    if (error < 0) {
        engine_deinit(&threads->engine);
        return error;
    }
    threads->pool = engine_pool();
    *ret_engine = &TAKE_PTR(threads)->engine;
    return 0;
}
