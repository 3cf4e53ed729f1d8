/* SPDX-License-Identifier: MIT */
/*
 * What all engines have in common: their numbers, counting what is in flight, and the way to the
 * one that does it. Knows none of them by name.
 */
#include "daemon/engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>

#include "daemon/engine/impl.h"

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
