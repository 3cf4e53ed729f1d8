/* SPDX-License-Identifier: MIT */
/*
 * The engine on io_uring: one ring for each engine, used by one thread, with completions posted
 * only when that thread asks for them (DEFER_TASKRUN where the kernel has it). A ring's own
 * descriptor never polls readable then, so an eventfd is registered with it, and process enters the
 * kernel for deferred work when the ring's flags say that there is some.
 *
 * A transfer waits in its target's lane (punted ones beyond ENGINE_PER_DEVICE, so that one hung
 * device cannot take all kernel workers), then in `queued` (no room in the ring), then is in the
 * ring, in `unsent` until the kernel has taken it. No more are in the ring than the completion
 * queue holds: it cannot overflow.
 *
 * A kernel that refuses to be entered for any other reason than to come again is not asked any
 * more: the ring is then `refused`, and what it did not take, and all that comes, is done by
 * threads.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/base/log.h"
#include "daemon/engine/impl.h"
#include "daemon/engine/rescue.h"
#include "daemon/engine/uring_memory.h"
#include "daemon/engine/uring_pins.h"
#include "daemon/engine/uring_ring.h"
#include "daemon/engine/writers.h"

enum {
    REAP_BATCH = 64,
    DEFERRED_AT_ONCE = 16, /* what io_uring_get_events runs at the least, if there is as much */
};

/* What the targets' writers have done for the engine. All members: under `mutex`, except that the
 * owner looks at `any` without it. */
struct uring_written {
    pthread_mutex_t mutex;
    struct engine_io_queue queue;
    atomic_bool any; /* the queue is not empty */
};

/* All members: the owner's thread. Two are for other threads as well: `written`, by its own rule,
 * and `event_fd`, a constant to which a poster writes under written.mutex. */
struct engine_uring {
    struct engine engine;
    struct io_uring ring;
    int event_fd;
    unsigned int in_ring; /* in the submission queue or with the kernel */
    bool enabled;
    bool refused;
    bool deaf;       /* completions cannot be asked for: it has been logged */
    bool stale_flag; /* the ring says that it has deferred work, and has none */
    struct engine_io_queue queued;
    struct engine_io_queue unsent;
    struct uring_pins pins;
    struct uring_written written;
    struct uring_memory memory;
};

static struct engine_uring *uring_of(const struct engine *engine)
{
    return (struct engine_uring *)(uintptr_t)engine;
}

/* --- Into the ring --- */

/* One buffer needs no vector that the kernel would have to copy. Where pages are copied anyway
 * (punts) it does not matter whether they are pinned. */
static void sqe_fill_single(struct io_uring_sqe *sqe, const struct engine_io *io)
{
    void *data = io->iov->iov_base;
    unsigned int length = (unsigned int)io->iov->iov_len;
    bool fixed = io->memory && io->memory->registered && !io->punts;

    if (io->op == ENGINE_READ)
        io_uring_prep_read(sqe, io->fd, data, length, io->offset_bytes);
    else
        io_uring_prep_write(sqe, io->fd, data, length, io->offset_bytes);
    if (fixed) {
        sqe->opcode = io->op == ENGINE_READ ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
        sqe->buf_index = (uint16_t)io->memory->slot;
    }
}

static void sqe_fill_vector(struct io_uring_sqe *sqe, const struct engine_io *io)
{
    unsigned int count = (unsigned int)io->iov_count;

    if (io->op == ENGINE_READ)
        io_uring_prep_readv(sqe, io->fd, io->iov, count, io->offset_bytes);
    else
        io_uring_prep_writev(sqe, io->fd, io->iov, count, io->offset_bytes);
}

static void sqe_fill(struct io_uring_sqe *sqe, struct engine_io *io)
{
    if (io->iov_count == 1 && io->iov->iov_len <= INT32_MAX)
        sqe_fill_single(sqe, io);
    else
        sqe_fill_vector(sqe, io);
    sqe->rw_flags = io->rw_flags;
    if (io->blocking)
        io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
    io_uring_sqe_set_data(sqe, io);
}

static bool ring_put(struct engine_uring *uring, struct engine_io *io)
{
    if (uring->in_ring == URING_RING_COMPLETIONS)
        return false;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe)
        return false;

    sqe_fill(sqe, io);
    TAILQ_INSERT_TAIL(&uring->unsent, io, link);
    uring->in_ring++;
    return true;
}

static void uring_put(struct engine_uring *uring, struct engine_io *io)
{
    if (uring->refused)
        rescue_transfer(&uring->engine, io);
    else if (!TAILQ_EMPTY(&uring->queued) || !ring_put(uring, io))
        TAILQ_INSERT_TAIL(&uring->queued, io, link);
}

/* A transfer that punts is not tried on this thread first: some file systems (FUSE) let the ring
 * believe that they would not block, and then do. */
static void uring_punt(struct engine_uring *uring, struct engine_io *io)
{
    struct engine_lane *lane = engine_lane_of(&uring->engine, io);

    io->in_lane = true;
    io->blocking = true;
    if (lane->running == ENGINE_PER_DEVICE) {
        TAILQ_INSERT_TAIL(&lane->waiting, io, link);
        return;
    }
    lane->running++;
    uring_put(uring, io);
}

static void uring_submit(struct engine *engine, struct engine_io *io)
{
    struct engine_uring *uring = uring_of(engine);

    io->in_lane = false;
    io->blocking = false;
    if (io->copies) {
        writers_add(engine, io);
    } else if (io->punts) {
        uring_punt(uring, io);
    } else {
        uring_put(uring, io);
    }
}

static void uring_fill(struct engine_uring *uring)
{
    struct engine_io *io;

    while ((io = TAILQ_FIRST(&uring->queued))) {
        TAILQ_REMOVE(&uring->queued, io, link); /* ring_put needs the link */
        if (ring_put(uring, io))
            continue;
        TAILQ_INSERT_HEAD(&uring->queued, io, link);
        return;
    }
}

/* On the owner's thread: it becomes the ring's only submitter. */
static int uring_enable(struct engine_uring *uring)
{
    if (uring->enabled)
        return 0;
    int error = uring_ring_enable(&uring->ring);
    uring->enabled = error == 0;
    return error;
}

/* What the kernel has taken before ends in the ring all the same. */
static void uring_refuse(struct engine_uring *uring, int error)
{
    struct engine_io_queue rest = TAILQ_HEAD_INITIALIZER(rest);
    struct engine_io *io;
    struct log_line line;

    log_begin(&line, LOG_LEVEL_ERROR, "engine-refused");
    log_text(&line, "engine", "io_uring");
    log_text(&line, "message",
             "the kernel takes no requests from this worker any more; using threads");
    log_errno(&line, error);
    log_end(&line);

    uring->refused = true;
    TAILQ_FOREACH (io, &uring->unsent, link)
        uring->in_ring--;
    TAILQ_CONCAT(&rest, &uring->unsent, link);
    TAILQ_CONCAT(&rest, &uring->queued, link);
    while ((io = TAILQ_FIRST(&rest))) {
        TAILQ_REMOVE(&rest, io, link);
        rescue_transfer(&uring->engine, io);
    }
}

static void uring_sent(struct engine_uring *uring, int count)
{
    for (; count > 0; count--)
        TAILQ_REMOVE(&uring->unsent, TAILQ_FIRST(&uring->unsent), link);
}

/* The kernel took nothing: it is short of memory, or wants its completions reaped first. Lets the
 * owner come round again, through process and kick. */
static void uring_come_again(struct engine_uring *uring)
{
    (void)eventfd_write(uring->event_fd, 1);
}

static void uring_kick(struct engine *engine)
{
    struct engine_uring *uring = uring_of(engine);

    writers_kick(engine);
    uring_fill(uring);
    while (!uring->refused && io_uring_sq_ready(&uring->ring) > 0) {
        int taken = uring_enable(uring);
        if (taken == 0)
            taken = io_uring_submit(&uring->ring);

        if (taken == -EAGAIN || taken == -EBUSY) {
            uring_come_again(uring);
            return;
        }
        if (taken < 0 && taken != -EINTR)
            uring_refuse(uring, taken);
        uring_sent(uring, taken);
        uring_fill(uring);
    }
}

/* --- Out of the ring --- */

/* One of a target's transfers has left its lane: the next one goes. */
static void lane_leave(struct engine_uring *uring, struct engine_lane *lane)
{
    struct engine_io *next = TAILQ_FIRST(&lane->waiting);

    if (!next) {
        lane->running--;
        return;
    }
    TAILQ_REMOVE(&lane->waiting, next, link);
    uring_put(uring, next);
}

/* Without RWF_NOWAIT, -EAGAIN only means that the ring would not wait for a descriptor that is
 * O_NONBLOCK: a kernel worker does. If that says it again, it is the file system's answer. */
static bool uring_again(struct engine_io *io, ssize_t result)
{
    if (result == -EINTR)
        return true;
    if (result != -EAGAIN || (io->rw_flags & RWF_NOWAIT) || io->blocking)
        return false;
    io->blocking = true;
    return true;
}

static bool uring_reap_one(struct engine_uring *uring, struct engine_io *io, ssize_t result)
{
    uring->in_ring--;
    if (result == -ECANCELED) { /* nobody asked for it: the kernel could not start a worker */
        rescue_transfer(&uring->engine, io);
        return false;
    }
    if (uring_again(io, result)) {
        uring_put(uring, io);
        return false;
    }
    if (io->in_lane)
        lane_leave(uring, engine_lane_of(&uring->engine, io));
    engine_finish(io, result);
    return true;
}

static unsigned int uring_reap(struct engine_uring *uring)
{
    struct io_uring_cqe *cqes[REAP_BATCH];
    unsigned int done = 0;
    unsigned int count;

    while ((count = io_uring_peek_batch_cqe(&uring->ring, cqes, REAP_BATCH)) > 0) {
        for (unsigned int i = 0; i < count; i++) {
            struct engine_io *io = io_uring_cqe_get_data(cqes[i]);
            ssize_t result = cqes[i]->res;

            done += uring_reap_one(uring, io, result);
        }
        io_uring_cq_advance(&uring->ring, count);
    }
    return done;
}

static bool ring_has_deferred_work(const struct engine_uring *uring)
{
    return IO_URING_READ_ONCE(*uring->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static bool uring_ready(struct engine *engine)
{
    struct engine_uring *uring = uring_of(engine);

    return io_uring_cq_ready(&uring->ring) > 0 ||
           (ring_has_deferred_work(uring) && !uring->stale_flag) ||
           atomic_load_explicit(&uring->written.any, memory_order_relaxed);
}

/* The event descriptor is written under the lock: then the owner can be done with the last transfer
 * and free the engine, and nobody still writes it. */
static void uring_post(struct engine *engine, struct engine_io_queue *ended)
{
    struct engine_uring *uring = uring_of(engine);

    pthread_mutex_lock(&uring->written.mutex);
    bool first = TAILQ_EMPTY(&uring->written.queue);
    TAILQ_CONCAT(&uring->written.queue, ended, link);
    atomic_store(&uring->written.any, true); /* before the descriptor is readable */
    if (first)
        (void)eventfd_write(uring->event_fd, 1);
    pthread_mutex_unlock(&uring->written.mutex);
}

static unsigned int uring_finish_written(struct engine_uring *uring)
{
    struct engine_io_queue ended = TAILQ_HEAD_INITIALIZER(ended);
    struct engine_io *io;
    unsigned int done = 0;

    if (!atomic_load(&uring->written.any))
        return 0;
    pthread_mutex_lock(&uring->written.mutex);
    TAILQ_CONCAT(&ended, &uring->written.queue, link);
    atomic_store_explicit(&uring->written.any, false, memory_order_relaxed);
    pthread_mutex_unlock(&uring->written.mutex);

    while ((io = TAILQ_FIRST(&ended))) {
        TAILQ_REMOVE(&ended, io, link);
        if (io->in_lane) /* the ring did not take it */
            lane_leave(uring, engine_lane_of(&uring->engine, io));
        engine_finish(io, io->result);
        done++;
    }
    return done;
}

/* Has the kernel run deferred work. Where it refuses that, what it has taken does not end before it
 * allows it again: each completion signals the eventfd, and it is asked anew. */
static bool uring_get_events(struct engine_uring *uring)
{
    int error = io_uring_get_events(&uring->ring);

    for (int again = 0; error < 0 && again < 2; again++)
        error = io_uring_get_events(&uring->ring);
    if (error < 0 && !uring->deaf) {
        uring->deaf = true;
        log_message(
            LOG_LEVEL_ERROR, "engine-deaf",
            "the kernel does not deliver what it has done: %s; up to %u requests wait for that",
            strerror(-error), uring->in_ring);
    }
    return error >= 0;
}

/*
 * Whether the ring's flag says that there is deferred work when there is none. The kernel lists
 * work first and sets the flag afterwards; if the list is run in between, the flag stays until the
 * next work is run. Asked after the eventfd was read, so that work that comes later is told by
 * that.
 *
 * The kernel runs some twenty works at a time, tells nobody of those that are left, and not each
 * ends a transfer: one that found a device's queue full goes on to a kernel worker. So all that
 * there can be are run before the flag is called stale.
 */
static bool uring_flag_is_stale(struct engine_uring *uring)
{
    for (unsigned int calls = uring->in_ring / DEFERRED_AT_ONCE + 2; calls > 0; calls--) {
        if (!uring_get_events(uring))
            return true;
        if (io_uring_cq_ready(&uring->ring) > 0 || !ring_has_deferred_work(uring))
            return false;
    }
    return true;
}

/* Running deferred work signals the eventfd once more for what it completes, so it is read after
 * that; what comes in between has set the ring's flags first, and is found by looking again. */
static unsigned int uring_process(struct engine *engine)
{
    struct engine_uring *uring = uring_of(engine);
    unsigned int done = 0;
    bool again;
    eventfd_t count;

    do {
        if (ring_has_deferred_work(uring))
            (void)uring_get_events(uring);
        (void)eventfd_read(uring->event_fd, &count);
        bool found = io_uring_cq_ready(&uring->ring) > 0;
        done += uring_reap(uring) + uring_finish_written(uring);
        again = ring_has_deferred_work(uring);
        uring->stale_flag = again && !found && uring_flag_is_stale(uring);
    } while (again && !uring->stale_flag);
    return done;
}

static int uring_fd(const struct engine *engine)
{
    return uring_of(engine)->event_fd;
}

static int uring_pin(struct engine *engine, struct engine_pin *pin, const int *fds,
                     unsigned int count)
{
    struct engine_uring *uring = uring_of(engine);

    int error = uring_enable(uring);
    return error < 0 ? error : uring_pins_put(&uring->pins, &uring->ring, pin, fds, count);
}

static void uring_unpin(struct engine *engine, struct engine_pin *pin)
{
    struct engine_uring *uring = uring_of(engine);

    uring_pins_drop(&uring->pins, &uring->ring, pin);
}

static void uring_register_memory(struct engine *engine, struct engine_memory *memory)
{
    struct engine_uring *uring = uring_of(engine);

    if (uring_enable(uring) < 0)
        return; /* it is used without being registered */
    uring_memory_put(&uring->memory, &uring->ring, memory);
}

static void uring_unregister_memory(struct engine *engine, struct engine_memory *memory)
{
    struct engine_uring *uring = uring_of(engine);

    uring_memory_drop(&uring->memory, &uring->ring, memory);
}

/* --- Life --- */

static void uring_free(struct engine *engine)
{
    struct engine_uring *uring = uring_of(engine);

    io_uring_queue_exit(&uring->ring);
    pthread_mutex_lock(&uring->written.mutex); /* a poster may still be on its way out */
    pthread_mutex_unlock(&uring->written.mutex);
    pthread_mutex_destroy(&uring->written.mutex);
    (void)close(uring->event_fd);
    engine_deinit(engine);
    free(uring);
}

static const struct engine_ops uring_ops = {
    .name = "io_uring",
    .free = uring_free,
    .submit = uring_submit,
    .kick = uring_kick,
    .ready = uring_ready,
    .process = uring_process,
    .fd = uring_fd,
    .post = uring_post,
    .pin = uring_pin,
    .unpin = uring_unpin,
    .register_memory = uring_register_memory,
    .unregister_memory = uring_unregister_memory,
};

int uring_new(struct engine **ret_engine)
{
    CLEANUP_FREE struct engine_uring *uring = calloc(1, sizeof(*uring));
    if (!uring)
        return -ENOMEM;

    CLEANUP_CLOSE int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0)
        return -errno;
    uring->event_fd = event_fd;

    int error = engine_init(&uring->engine, &uring_ops);
    if (error < 0)
        return error;
    error = uring_ring_open(&uring->ring, uring->event_fd);
    if (error < 0) {
        engine_deinit(&uring->engine);
        return error;
    }
    TAILQ_INIT(&uring->queued);
    TAILQ_INIT(&uring->unsent);
    TAILQ_INIT(&uring->written.queue);
    (void)pthread_mutex_init(&uring->written.mutex, NULL);

    TAKE_FD(event_fd);
    *ret_engine = &TAKE_PTR(uring)->engine;
    return 0;
}
