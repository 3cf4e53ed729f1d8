/* SPDX-License-Identifier: MIT */
/*
 * What all engines have in common: choosing one by its name, and counting what is in flight.
 */
#include "daemon/engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/engine/impl.h"
#include "daemon/engine/writers.h"

#define FAULT_PREFIX "fault:"

void engine_target_init(struct engine_target *target)
{
    helper_share_init(&target->share, ENGINE_PER_DEVICE);
    for (unsigned int i = 0; i < WORKERS_MAX; i++) {
        target->lanes[i].running = 0;
        TAILQ_INIT(&target->lanes[i].waiting);
        TAILQ_INIT(&target->lanes[i].batch);
    }
    engine_writers_init(target);
}

void engine_target_deinit(struct engine_target *target)
{
    engine_writers_deinit(target);
    helper_share_deinit(&target->share);
    for (unsigned int i = 0; i < WORKERS_MAX; i++)
        assert(target->lanes[i].running == 0 && TAILQ_EMPTY(&target->lanes[i].waiting) &&
               TAILQ_EMPTY(&target->lanes[i].batch));
}

/* Which numbers are taken: one bit for each engine there is. */
static _Atomic uint64_t numbers_taken;
static_assert(WORKERS_MAX <= 64, "an engine's number is a bit of numbers_taken");

int engine_init(struct engine *engine, const struct engine_ops *ops)
{
    for (unsigned int i = 0; i < WORKERS_MAX; i++) {
        uint64_t bit = UINT64_C(1) << i;

        if (!(atomic_fetch_or(&numbers_taken, bit) & bit)) {
            *engine = (struct engine){.ops = ops, .number = i};
            TAILQ_INIT(&engine->batches);
            return 0;
        }
    }
    return -EMFILE;
}

void engine_deinit(struct engine *engine)
{
    atomic_fetch_and(&numbers_taken, ~(UINT64_C(1) << engine->number));
}

static int new_auto(struct engine **ret_engine, int *ret_fallback_reason)
{
    int reason = engine_uring_new(ret_engine);
    if (reason == 0) {
        *ret_fallback_reason = 0;
        return 0;
    }

    int error = engine_threads_new(ret_engine);
    if (error < 0)
        return error;
    *ret_fallback_reason = reason;
    return 0;
}

/* Any engine but the one that wraps another. */
static int new_plain(const char *name, struct engine **ret_engine, int *ret_fallback_reason)
{
    if (strcmp(name, "auto") == 0)
        return new_auto(ret_engine, ret_fallback_reason);
    if (strcmp(name, "io_uring") == 0)
        return engine_uring_new(ret_engine);
    if (strcmp(name, "threads") == 0)
        return engine_threads_new(ret_engine);
    return -EINVAL;
}

/* "ENGINE:RULES" */
static int new_fault(const char *text, struct engine **ret_engine, int *ret_fallback_reason)
{
    const char *colon = strchr(text, ':');
    if (!colon)
        return -EINVAL;

    CLEANUP_FREE char *inner_name = strndup(text, (size_t)(colon - text));
    if (!inner_name)
        return -ENOMEM;

    struct engine *inner;
    int reason = 0;
    int error = new_plain(inner_name, &inner, &reason);
    if (error < 0)
        return error;

    error = engine_fault_new(colon + 1, inner, ret_engine);
    if (error < 0) {
        engine_free(inner);
        return error;
    }
    *ret_fallback_reason = reason;
    return 0;
}

int engine_new(const char *name, struct engine **ret_engine, int *ret_fallback_reason)
{
    int ignored;

    if (!ret_fallback_reason)
        ret_fallback_reason = &ignored;
    if (strncmp(name, FAULT_PREFIX, strlen(FAULT_PREFIX)) == 0)
        return new_fault(name + strlen(FAULT_PREFIX), ret_engine, ret_fallback_reason);
    return new_plain(name, ret_engine, ret_fallback_reason);
}

struct engine *engine_free(struct engine *engine)
{
    if (engine) {
        assert(engine->in_flight == 0);
        engine->ops->free(engine);
    }
    return NULL;
}

const char *engine_name(const struct engine *engine)
{
    return engine->ops->name;
}

void engine_submit(struct engine *engine, struct engine_io *io)
{
    assert(io->iov_count >= 1 && io->iov_count <= IOV_MAX);
    io->engine = engine;
    engine->in_flight++;
    engine->in_threads += io->punts || io->copies;
    engine->ops->submit(engine, io);
}

void engine_kick(struct engine *engine)
{
    engine->ops->kick(engine);
}

int engine_fd(const struct engine *engine)
{
    return engine->ops->fd(engine);
}

bool engine_ready(struct engine *engine)
{
    return engine->ops->ready(engine);
}

unsigned int engine_process(struct engine *engine)
{
    return engine->ops->process(engine);
}

int engine_pin(struct engine *engine, struct engine_pin *pin, const int *fds, unsigned int count)
{
    return engine->ops->pin(engine, pin, fds, count);
}

void engine_unpin(struct engine *engine, struct engine_pin *pin)
{
    engine->ops->unpin(engine, pin);
}

void engine_register(struct engine *engine, struct engine_memory *memory, void *base,
                     size_t size_bytes)
{
    *memory = (struct engine_memory){.base = base, .size_bytes = size_bytes};
    if (engine->ops->register_memory)
        engine->ops->register_memory(engine, memory);
}

void engine_unregister(struct engine *engine, struct engine_memory *memory)
{
    if (memory->registered)
        engine->ops->unregister_memory(engine, memory);
    *memory = (struct engine_memory){0};
}

void engine_verb_fault(struct engine *engine, uint64_t *ret_delay_us, int *ret_error)
{
    *ret_delay_us = 0;
    *ret_error = 0;
    if (engine->ops->verb_fault)
        engine->ops->verb_fault(engine, ret_delay_us, ret_error);
}

unsigned int engine_in_flight(const struct engine *engine)
{
    return engine->in_flight;
}

void engine_finish(struct engine_io *io, ssize_t result)
{
    io->engine->in_flight--;
    io->engine->in_threads -= io->punts || io->copies;
    io->on_done(io, result);
}

bool engine_needs_cpu(const struct engine *engine)
{
    return engine->in_threads > 0;
}

int engine_global_init(void)
{
    return engine_threads_global_init();
}

void engine_global_deinit(void)
{
    engine_threads_global_deinit();
}
