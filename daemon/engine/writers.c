/* SPDX-License-Identifier: MIT */
/*
 * See writers.h. As long as a target's queue holds a write, at least one of its threads is active:
 * a thread leaves only after it has seen the queue empty, and whoever fills the queue starts one if
 * none is there that will soon look.
 */
#include "daemon/engine/writers.h"

#include <assert.h>
#include <stddef.h>

#include "daemon/base/clock.h"
#include "daemon/base/helper.h"
#include "daemon/engine/pool.h"

/*
 * A group is given back when it is so large or so old, or when there is nothing more to do: each
 * time wakes the owner, and small groups make all sides wake each other all the time. (4 KiB at
 * depth 32 on two CPUs: 8 a group 250 k/s, 16 310 k/s, 32 355 k/s.)
 */
enum { GROUP_MAX = 8 };
static const uint64_t group_ns = UINT64_C(15) * 1000;

/* A write that has taken this long did not only copy: the others need not wait for it. */
static const uint64_t slow_ns = UINT64_C(2) * 1000 * 1000;

/* What one thread has done and not given back. */
struct writer_group {
    struct engine_io_queue ended;
    struct engine *home; /* of all of them; NULL: there are none */
    unsigned int count;
    uint64_t since_ns;
};

/* --- Threads come and go --- */

/* Under the mutex: whether none of those that are there will soon look at the queue. */
static bool writers_are_stuck(const struct engine_writers *writers, uint64_t now)
{
    for (unsigned int i = 0; i < ENGINE_PER_DEVICE; i++) {
        const struct engine_writer *writer = &writers->writers[i];

        if (writer->active && (writer->since_ns == 0 || now - writer->since_ns < slow_ns))
            return false;
    }
    return true;
}

/* Under the mutex: one more, to be started without it. Or NULL: there is no need or no room. */
static struct engine_writer *writers_activate(struct engine_writers *writers)
{
    if (writers->active == ENGINE_PER_DEVICE || TAILQ_EMPTY(&writers->queue) ||
        !writers_are_stuck(writers, clock_ns()))
        return NULL;
    for (unsigned int i = 0;; i++) {
        struct engine_writer *writer = &writers->writers[i];

        if (!writer->active) {
            writer->active = true;
            writer->since_ns = 0;
            writers->active++;
            return writer;
        }
    }
}

static struct engine_writer *writer_of_job(struct helper_job *job)
{
    return (struct engine_writer *)(void *)((char *)job - offsetof(struct engine_writer, job));
}

static void on_writer_left(struct helper_job *job);
static void writer_run(struct helper_job *job);

static void writer_start(struct engine_writer *writer)
{
    writer->job = (struct helper_job){
        .run = writer_run,
        .on_done = on_writer_left,
        .shares = {&writer->target->share},
    };
    helper_submit(engine_pool(), &writer->job);
}

/* What came after it had looked for the last time is its own to do. */
static void on_writer_left(struct helper_job *job)
{
    struct engine_writer *writer = writer_of_job(job);
    struct engine_writers *writers = &writer->target->writers;

    pthread_mutex_lock(&writers->mutex);
    bool again = !TAILQ_EMPTY(&writers->queue);
    if (!again) {
        writer->active = false;
        writers->active--;
        if (writers->active == 0)
            pthread_cond_signal(&writers->idle);
    }
    pthread_mutex_unlock(&writers->mutex);
    if (again)
        writer_start(writer);
}

/* --- A thread --- */

static void group_give_back(struct writer_group *group)
{
    if (!group->home)
        return;
    group->home->ops->post(group->home, &group->ended);
    group->home = NULL;
    group->count = 0;
}

static void group_add(struct writer_group *group, struct engine_io *io, uint64_t now)
{
    if (group->home != io->home)
        group_give_back(group);
    if (group->count == 0)
        group->since_ns = now;
    group->home = io->home;
    TAILQ_INSERT_TAIL(&group->ended, io, link);
    group->count++;
    if (group->count >= GROUP_MAX || now - group->since_ns >= group_ns)
        group_give_back(group);
}

static struct engine_io *writer_take(struct engine_writer *writer, uint64_t now)
{
    struct engine_writers *writers = &writer->target->writers;

    pthread_mutex_lock(&writers->mutex);
    struct engine_io *io = TAILQ_FIRST(&writers->queue);
    if (io)
        TAILQ_REMOVE(&writers->queue, io, link);
    writer->since_ns = io ? now : 0;
    pthread_mutex_unlock(&writers->mutex);
    return io;
}

static void writer_join_another(struct engine_writers *writers)
{
    pthread_mutex_lock(&writers->mutex);
    struct engine_writer *another = writers_activate(writers);
    pthread_mutex_unlock(&writers->mutex);
    if (another)
        writer_start(another);
}

static void writer_run(struct helper_job *job)
{
    struct engine_writer *writer = writer_of_job(job);
    struct engine_writers *writers = &writer->target->writers;
    struct writer_group group = {.ended = TAILQ_HEAD_INITIALIZER(group.ended)};

    uint64_t before = clock_ns();
    struct engine_io *io;

    while ((io = writer_take(writer, before))) {
        io->result = engine_transfer(io);
        uint64_t now = clock_ns();
        if (now - before >= slow_ns)
            writer_join_another(writers);
        group_add(&group, io, now);
        before = now;
    }
    group_give_back(&group);
}

/* --- The engine's owner --- */

void writers_add(struct engine *engine, struct engine_io *io)
{
    struct engine_lane *lane = engine_lane_of(engine, io);

    io->home = engine;
    if (TAILQ_EMPTY(&lane->batch))
        TAILQ_INSERT_TAIL(&engine->batches, lane, link);
    TAILQ_INSERT_TAIL(&lane->batch, io, link);
}

static void writers_hand_over(struct engine_writers *writers, struct engine_lane *lane)
{
    pthread_mutex_lock(&writers->mutex);
    TAILQ_CONCAT(&writers->queue, &lane->batch, link);
    struct engine_writer *writer = writers_activate(writers);
    pthread_mutex_unlock(&writers->mutex);
    if (writer)
        writer_start(writer);
}

void writers_kick(struct engine *engine)
{
    struct engine_lane *lane;

    while ((lane = TAILQ_FIRST(&engine->batches))) {
        TAILQ_REMOVE(&engine->batches, lane, link);
        writers_hand_over(&TAILQ_FIRST(&lane->batch)->target->writers, lane);
    }
}

/* --- Life --- */

void writers_init(struct engine_target *target)
{
    struct engine_writers *writers = &target->writers;
    *writers = (struct engine_writers){0};
    (void)pthread_mutex_init(&writers->mutex, NULL);
    (void)pthread_cond_init(&writers->idle, NULL);
    TAILQ_INIT(&writers->queue);
    for (unsigned int i = 0; i < ENGINE_PER_DEVICE; i++)
        writers->writers[i].target = target;
}

void writers_deinit(struct engine_target *target)
{
    struct engine_writers *writers = &target->writers;

    pthread_mutex_lock(&writers->mutex);
    assert(TAILQ_EMPTY(&writers->queue));
    while (writers->active > 0)
        pthread_cond_wait(&writers->idle, &writers->mutex);
    pthread_mutex_unlock(&writers->mutex);
    (void)pthread_cond_destroy(&writers->idle);
    (void)pthread_mutex_destroy(&writers->mutex);
}
