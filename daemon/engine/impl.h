/* SPDX-License-Identifier: MIT */
/*
 * What an engine is made of, for the files of this room only: engine.c is what all of them have in
 * common and knows none of them, uring.c, threads.c and fault.c are the engines, and choose.c makes
 * one by its name. What they rest on besides: writers.h and pool.h.
 */
#ifndef BLKD_DAEMON_ENGINE_IMPL_H
#define BLKD_DAEMON_ENGINE_IMPL_H

#include "daemon/engine/engine.h"

struct engine_ops {
    const char *name;
    void (*free)(struct engine *engine);
    void (*submit)(struct engine *engine, struct engine_io *io);
    void (*kick)(struct engine *engine);
    bool (*ready)(struct engine *engine);
    unsigned int (*process)(struct engine *engine);
    int (*fd)(const struct engine *engine);
    /* Any thread: these have ended, with their results in io->result; process is to finish them. */
    void (*post)(struct engine *engine, struct engine_io_queue *ended);
    int (*pin)(struct engine *engine, struct engine_pin *pin, const int *fds, unsigned int count);
    void (*unpin)(struct engine *engine, struct engine_pin *pin);
    /* Or NULL: no memory is ever registered. `memory` has its base and size; unregister is only
     * called for what register has set registered in. */
    void (*register_memory)(struct engine *engine, struct engine_memory *memory);
    void (*unregister_memory)(struct engine *engine, struct engine_memory *memory);
    /* Or NULL: nothing ever goes wrong with a verb. */
    void (*verb_fault)(struct engine *engine, uint64_t *ret_delay_us, int *ret_error);
};

TAILQ_HEAD(engine_batches, engine_lane);

/* First member of each engine. All members: the owner's thread; `ops` and `number` are constant. */
struct engine {
    const struct engine_ops *ops; /* what the engine does itself */
    unsigned int in_flight;
    unsigned int in_threads; /* of those: what copies or punts */
    /* Of engines that do transfers themselves: */
    unsigned int number;           /* which lane of each target is its own */
    struct engine_batches batches; /* lanes with something for their target's writers */
};

/* Gives the engine its number, unless there are too many: -EMFILE. */
int engine_init(struct engine *engine, const struct engine_ops *ops);
void engine_deinit(struct engine *engine);

static inline struct engine_lane *engine_lane_of(const struct engine *engine,
                                                 const struct engine_io *io)
{
    return &io->target->lanes[engine->number];
}

/* The engines, for choose.c. Each: 0 or a negative errno. */
int uring_new(struct engine **ret_engine);
int threads_new(struct engine **ret_engine);

/* `rules` as fault_rules.h has them; takes `inner` when it succeeds. */
int fault_new(const char *rules, struct engine *inner, struct engine **ret_engine);

/* From an engine's process: the transfer is over. It counts in io->engine, which is the outermost
 * engine. */
void engine_finish(struct engine_io *io, ssize_t result);

#endif
