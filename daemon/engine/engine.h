/* SPDX-License-Identifier: MIT */
/*
 * The engine does reads and writes on descriptors without blocking the worker that owns it. One
 * interface, several ways: io_uring, a pool of threads, and one that injects faults into another.
 * Engines know neither devices nor requests nor libevent; backends sit above them.
 *
 * An engine belongs to one thread: every call but engine_global_* and engine_new is made there, and
 * completions are called there, from engine_process only (never from engine_submit or engine_kick).
 * A transfer may end short: finishing it is the caller's business.
 *
 * A round of the owner's loop: engine_process when engine_fd is readable, then whatever else
 * submits, then engine_kick, always: engine_process may have made room for transfers that waited.
 */
#ifndef BLKD_DAEMON_ENGINE_ENGINE_H
#define BLKD_DAEMON_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/limits.h"
#include "daemon/base/helper.h"

struct engine;
struct engine_io;

enum { ENGINE_PIN_MAX = 3 };

TAILQ_HEAD(engine_io_queue, engine_io);

/* One engine's part of a target. All members: that engine's thread only. */
struct engine_lane {
    unsigned int running; /* of what punts, in io_uring */
    struct engine_io_queue waiting;
    struct engine_io_queue batch; /* for the target's writers, at the next kick */
    TAILQ_ENTRY(engine_lane) link;
};

/* A thread of a target's writers (writers.h). `active` and `since_ns`: under engine_writers.mutex.
 * `job` is the pool's while the thread is active; `target` is constant. */
struct engine_writer {
    struct helper_job job;
    struct engine_target *target;
    bool active;
    uint64_t since_ns; /* of the write that it does; 0: none */
};

/* All engines' part of a target: threads for its buffered writes. All members: under `mutex`. */
struct engine_writers {
    pthread_mutex_t mutex;
    pthread_cond_t idle; /* none is active */
    struct engine_io_queue queue;
    unsigned int active;
    struct engine_writer writers[ENGINE_PER_DEVICE];
};

/*
 * What the transfers of one device share: their fair part of the engine, so that a hung device does
 * not take all of its threads. One for each device, used by the engines of all workers. The device
 * only embeds it: the members are the engines' own, each part with the rule at its top (`share`:
 * the pool's lock).
 */
struct engine_target {
    struct helper_share share;
    struct engine_lane lanes[WORKERS_MAX]; /* by the engine's number */
    struct engine_writers writers;
};

void engine_target_init(struct engine_target *target);
/* Nothing of it may be in flight. Waits for threads that are on their way out. */
void engine_target_deinit(struct engine_target *target);

/*
 * Memory that many transfers use (a client's arena). io_uring registers it where the memlock limit
 * allows (RLIMIT_MEMLOCK counts it for other users than root), so that its pages need not be pinned
 * for each transfer; else it is used as any other memory. Zeroed at first.
 */
struct engine_memory {
    bool registered;
    unsigned int slot;
    void *base;
    size_t size_bytes;
};

enum engine_op {
    ENGINE_READ,
    ENGINE_WRITE,
};

/*
 * One transfer; embedded in what it is for. The first members are the caller's, who leaves them
 * alone from engine_submit to on_done. The last ones are the engine's own, and belong to whoever
 * has the transfer at the moment: the engine's thread, the target's writers (under their mutex), or
 * the thread that does it.
 */
struct engine_io {
    enum engine_op op;
    int fd;
    const struct iovec *iov; /* stays the caller's, unchanged until on_done */
    int iov_count;           /* 1 to IOV_MAX */
    uint64_t offset_bytes;
    int rw_flags; /* RWF_*, as for preadv2(2) */
    /* For a kernel worker of io_uring, capped per target: what the ring cannot do without blocking.
     * That is buffered writes, and everything on file systems whose RWF_NOWAIT cannot be relied on:
     * on FUSE, an io_uring transfer without this blocks the owner's thread itself. If in doubt, set
     * it. */
    bool punts;
    /* A write that usually only copies into the page cache, and may block all the same: for a
     * thread of ours, which does it sooner than a kernel worker. */
    bool copies;
    struct engine_target *target;
    /* That all of its buffers lie in; or NULL. */
    const struct engine_memory *memory;
    /* Bytes transferred (>= 0) or a negative errno; never -EINTR, and -EAGAIN only with RWF_NOWAIT.
     */
    void (*on_done)(struct engine_io *io, ssize_t result);

    /* The engine's own. */
    struct engine *engine; /* the outermost */
    struct engine *home;   /* the one that does it */
    struct helper_job job;
    ssize_t result;
    bool in_lane;
    bool blocking;
    TAILQ_ENTRY(engine_io) link;
};

/*
 * "io_uring", "threads", "auto" (io_uring, else threads), or "fault:ENGINE:RULES" (fault_rules.h).
 * Where io_uring cannot be used: the negative errno that says why (-EPERM: sysctl
 * kernel.io_uring_disabled or a seccomp filter; -ENOSYS: not in the kernel; -EOPNOTSUPP: too old).
 * For "auto" and if not NULL, *ret_fallback_reason is 0 or that errno. -EINVAL: no such engine, or
 * rules that are wrong.
 */
int engine_new(const char *name, struct engine **ret_engine, int *ret_fallback_reason);

/* Nothing may be in flight. Returns NULL. */
struct engine *engine_free(struct engine *engine);

/* "io_uring", "threads", "fault". */
const char *engine_name(const struct engine *engine);

/* Takes the transfer; it may be handed to the kernel only at the next engine_kick. */
void engine_submit(struct engine *engine, struct engine_io *io);

/* Hands over what was submitted. Call it once a round of the event loop. */
void engine_kick(struct engine *engine);

/* Readable when engine_process has something to do; now and then that is nothing that ends a
 * transfer. */
int engine_fd(const struct engine *engine);

/* Whether engine_process has something to do, without a system call: for an owner that polls before
 * it sleeps. */
bool engine_ready(struct engine *engine);

/* Calls on_done for what has ended; returns how many. Does not block. */
unsigned int engine_process(struct engine *engine);

/*
 * Keeps references to open files until unpinned, or, if the process is killed, until the last
 * transfer that the engine has submitted has landed: io_uring registers them with the ring, which
 * outlives the process as long as its I/O; with threads the process itself cannot end before. `pin`
 * is the caller's handle, zeroed at first; a pin that is in use gets the new descriptors instead of
 * the old ones. The caller still closes its own descriptors. 0; -ENFILE: the engine's table is
 * full; or another negative errno, and the pin keeps what it had. Does not block.
 *
 * The kernel frees a ring in its own time: after engine_free, or after the last transfer of a
 * process that was killed, what was pinned falls some tens of milliseconds later. engine_unpin lets
 * go at once.
 */
struct engine_pin {
    unsigned int count;
    unsigned int slots[ENGINE_PIN_MAX]; /* in the ring's table */
};
int engine_pin(struct engine *engine, struct engine_pin *pin, const int *fds, unsigned int count);
void engine_unpin(struct engine *engine, struct engine_pin *pin);

/* The engine will see many transfers in this memory, from engine_register to engine_unregister,
 * when none of them is in flight any more. Cannot fail: what cannot be registered is used all the
 * same. Does not block for longer than it takes to pin the pages. */
void engine_register(struct engine *engine, struct engine_memory *memory, void *base,
                     size_t size_bytes);
void engine_unregister(struct engine *engine, struct engine_memory *memory);

/* What is to go wrong with a verb of the helper pool (a sync), by the rules of the fault engine:
 * how long it is to be delayed first, and the errno (or 0) that it is to fail with instead of being
 * done. Always nothing with the other engines. */
void engine_verb_fault(struct engine *engine, uint64_t *ret_delay_us, int *ret_error);

/* Submitted and not yet done. */
unsigned int engine_in_flight(const struct engine *engine);

/* Whether transfers are under way that threads do, which need a CPU for that: not the time to poll
 * for them. */
bool engine_needs_cpu(const struct engine *engine);

/* The threads behind all "threads" engines: started once before the first engine, ended after the
 * last. */
int engine_global_init(void);
void engine_global_deinit(void);

#endif
