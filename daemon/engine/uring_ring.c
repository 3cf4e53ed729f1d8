/* SPDX-License-Identifier: MIT */
/* See uring_ring.h. Everything here happens once in the life of an engine. */
#include "daemon/engine/uring_ring.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/limits.h"

enum {
    RING_SUBMISSIONS = 256,
    /* Kernel workers of one ring. Bounded ones do what turns out on the way to block, on files and
     * block devices (the kernel's default is 4 a CPU); unbounded ones what is sent to a worker from
     * the start, and there are as many as RLIMIT_NPROC allows if nothing else is said. */
    RING_BOUNDED_MAX = 64,
    RING_UNBOUNDED_MAX = 64 * ENGINE_PER_DEVICE,
};

/* What the ring is tried with, from best to plainest. Enabling later lets an engine be made on a
 * thread other than the one that uses it. */
static const unsigned int ring_flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL, /* 6.1 */
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_R_DISABLED, /* 5.19 */
    IORING_SETUP_R_DISABLED,     /* 5.10 */
};

static int ring_open(struct io_uring *ring)
{
    int error = -EINVAL;

    for (size_t i = 0; error == -EINVAL && i < sizeof(ring_flags) / sizeof(*ring_flags); i++) {
        struct io_uring_params params = {
            .flags = ring_flags[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
            .cq_entries = URING_RING_COMPLETIONS,
        };
        error = io_uring_queue_init_params(RING_SUBMISSIONS, ring, &params);
    }
    return error;
}

static int ring_probe(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    if (!probe)
        return -EOPNOTSUPP;

    bool good = io_uring_opcode_supported(probe, IORING_OP_READ) &&
                io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
                io_uring_opcode_supported(probe, IORING_OP_READV) &&
                io_uring_opcode_supported(probe, IORING_OP_WRITEV);
    io_uring_free_probe(probe);
    return good ? 0 : -EOPNOTSUPP;
}

/* The ring itself can only be entered by the thread that will use it. So another one, of the same
 * kind, is entered here, and must do nothing. */
static int ring_try_nop(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    struct io_uring_cqe *cqe = NULL;
    int taken;

    if (!sqe)
        return -EOPNOTSUPP;
    io_uring_prep_nop(sqe);
    do
        taken = io_uring_submit_and_wait(ring, 1);
    while (taken == -EINTR);
    if (taken < 0)
        return taken;
    int error = io_uring_peek_cqe(ring, &cqe);
    return error < 0 ? error : cqe->res;
}

static int ring_try_entering(unsigned int flags)
{
    const unsigned int ours = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    struct io_uring ring;
    int error = io_uring_queue_init(1, &ring, flags & ~ours);
    if (error < 0)
        return error;

    error = ring_try_nop(&ring);
    io_uring_queue_exit(&ring);
    return error;
}

int uring_ring_open(struct io_uring *ring, int event_fd)
{
    int error = ring_open(ring);
    if (error == 0) {
        error = ring_try_entering(ring->flags);
        if (error < 0)
            io_uring_queue_exit(ring);
    }
    if (error < 0)
        return error == -EINVAL ? -EOPNOTSUPP : error;

    error = ring_probe(ring);
    if (error == 0)
        error = io_uring_register_eventfd(ring, event_fd);
    if (error < 0)
        io_uring_queue_exit(ring);
    return error;
}

/* liburing 2.3 has io_uring_enable_rings in its header, but does not export it. */
static long ring_enable(const struct io_uring *ring)
{
    return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int uring_ring_enable(struct io_uring *ring)
{
    unsigned int workers[2] = {RING_BOUNDED_MAX, RING_UNBOUNDED_MAX};

    if (ring_enable(ring) < 0)
        return -errno;
    /* Not in every kernel (5.15); without it there are fewer workers. */
    (void)io_uring_register_iowq_max_workers(ring, workers);
    return 0;
}
