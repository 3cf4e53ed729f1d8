/* SPDX-License-Identifier: MIT */
/*
 * io_uring as one who wants speed sets it up: one issuer, completions run when it asks for them,
 * the file and (where the memlock limit allows) the buffers registered.
 */
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/complaint.h"
#include "tests/bench/memory.h"
#include "tests/bench/target.h"

struct uring {
    struct target target;
    struct io_uring ring;
    int fd;
    bool buffers_registered;
};

enum { REGISTERED_FILE = 0, REGISTERED_BUFFER = 0 };

/* The kernel's workers, who do what would block, stay on this thread's CPUs; older kernels (6.1 as
 * one) let them run anywhere, whatever taskset(1) says. */
static void ring_keep_placement(struct io_uring *ring)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        (void)io_uring_register_iowq_aff(ring, sizeof(cpus), &cpus);
}

static int ring_init(struct io_uring *ring, unsigned int depth)
{
    int r =
        io_uring_queue_init(depth, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (r == -EINVAL) /* before Linux 6.1 */
        r = io_uring_queue_init(depth, ring, 0);
    return r;
}

static int ring_open(struct uring *uring, const struct target_options *options)
{
    int r = ring_init(&uring->ring, options->depth);
    if (r < 0)
        return r;
    ring_keep_placement(&uring->ring);
    r = io_uring_register_files(&uring->ring, &uring->fd, 1);
    if (r < 0)
        io_uring_queue_exit(&uring->ring);
    return r;
}

static int uring_open(const struct target_options *options, struct target **ret_target)
{
    CLEANUP_FREE struct uring *uring = calloc(1, sizeof(*uring));
    if (!uring)
        return -ENOMEM;
    CLEANUP_CLOSE int fd = -1;
    int r = target_open_file(options, &fd, &uring->target.size_bytes);
    if (r < 0)
        return r;
    uring->fd = fd;
    r = ring_open(uring, options);
    if (r < 0) {
        complain("cannot set up an io_uring of %u entries: %s", options->depth, strerror(-r));
        return r;
    }
    (void)TAKE_FD(fd);
    uring->target.type = &target_uring;
    uring->target.granule_bytes = 1;
    *ret_target = &TAKE_PTR(uring)->target;
    return 0;
}

static int uring_alloc(struct target *target, size_t size_bytes, void **ret_memory)
{
    struct uring *uring = (struct uring *)target;
    int r = memory_map(size_bytes, ret_memory);
    if (r < 0)
        return r;
    struct iovec memory = {.iov_base = *ret_memory, .iov_len = size_bytes};
    uring->buffers_registered = io_uring_register_buffers(&uring->ring, &memory, 1) == 0;
    return 0;
}

static void uring_free(struct target *target, void *memory, size_t size_bytes)
{
    (void)io_uring_unregister_buffers(&((struct uring *)target)->ring);
    memory_unmap(memory, size_bytes);
}

static void prepare(const struct uring *uring, const struct op *op, struct io_uring_sqe *sqe)
{
    void *base = op->buffer.iov_base;
    unsigned int length = (unsigned int)op->buffer.iov_len;
    if (op->kind == OP_FLUSH)
        io_uring_prep_fsync(sqe, REGISTERED_FILE, IORING_FSYNC_DATASYNC);
    else if (op->kind == OP_READ && uring->buffers_registered)
        io_uring_prep_read_fixed(sqe, REGISTERED_FILE, base, length, op->offset_bytes,
                                 REGISTERED_BUFFER);
    else if (op->kind == OP_READ)
        io_uring_prep_read(sqe, REGISTERED_FILE, base, length, op->offset_bytes);
    else if (uring->buffers_registered)
        io_uring_prep_write_fixed(sqe, REGISTERED_FILE, base, length, op->offset_bytes,
                                  REGISTERED_BUFFER);
    else
        io_uring_prep_write(sqe, REGISTERED_FILE, base, length, op->offset_bytes);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

static int uring_submit(struct target *target, struct op *op)
{
    struct uring *uring = (struct uring *)target;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe)
        return -EBUSY; /* the queue has an entry for each operation of the client */
    prepare(uring, op, sqe);
    io_uring_sqe_set_data(sqe, op);
    return 0;
}

static int result_of(const struct op *op, int transferred)
{
    if (transferred < 0 || op->kind == OP_FLUSH)
        return transferred;
    return (size_t)transferred == op->buffer.iov_len ? 0 : -EIO;
}

static int uring_wait(struct target *target)
{
    struct io_uring *ring = &((struct uring *)target)->ring;
    int r = io_uring_submit_and_wait(ring, 1);
    if (r < 0 && r != -EINTR)
        return r;
    struct io_uring_cqe *cqe;
    unsigned int head;
    unsigned int count = 0;
    io_uring_for_each_cqe(ring, head, cqe)
    {
        struct op *op = io_uring_cqe_get_data(cqe);
        op_complete(op, result_of(op, cqe->res));
        count++;
    }
    io_uring_cq_advance(ring, count);
    return 0;
}

static void uring_close(struct target *target)
{
    struct uring *uring = (struct uring *)target;
    io_uring_queue_exit(&uring->ring);
    (void)close(uring->fd);
    free(uring);
}

const struct target_type target_uring = {
    .scheme = "uring",
    .open = uring_open,
    .submit = uring_submit,
    .wait = uring_wait,
    .alloc = uring_alloc,
    .free = uring_free,
    .close = uring_close,
};
