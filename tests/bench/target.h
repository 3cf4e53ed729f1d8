/* SPDX-License-Identifier: MIT */
/*
 * What is measured, behind one interface, so that one loop (client.c) drives them all and the
 * ratios between them are honest. A target belongs to one client and is opened, used and closed on
 * its thread.
 *
 * Every operation that was submitted comes back through op_complete exactly once: from `submit`
 * itself where the target knows only waiting calls, else from `wait`.
 */
#ifndef BLKD_BENCH_TARGET_H
#define BLKD_BENCH_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tests/bench/workload.h"

struct client;

enum op_stage {
    OP_NEW,
    OP_HALF_DONE, /* written, and still to be flushed */
};

struct op {
    struct op *next;
    struct client *client;
    enum op_kind kind;
    enum op_stage stage;
    uint64_t offset_bytes;
    uint64_t started_ns;
    struct iovec buffer;
};

/* `result`: 0 or a negative errno. In client.c. */
void op_complete(struct op *op, int result);

struct target_options {
    const char *address; /* what follows the scheme */
    const char *socket;  /* of blkd; may be NULL */
    const char *tier;    /* of libblkd: "socket", "ring" or "auto"; NULL: not said */
    unsigned int depth;
    int busy_poll_us; /* -1: libblkd's default */
    bool read_write;
    bool o_direct;
    bool arena_buffers; /* blkd: memory that the daemon shares, not the program's own */
    bool connect_only;  /* blkd: no device is opened; nothing can be submitted then */
};

struct target {
    const struct target_type *type;
    uint64_t size_bytes;
    uint32_t granule_bytes; /* offsets and lengths are multiples of it */
};

struct target_type {
    const char *scheme;
    /* 0, or a negative errno after a message on stderr that says what failed and why. */
    int (*open)(const struct target_options *options, struct target **ret_target);
    /* 0, or a negative errno if the operation was not accepted (then it does not come back). */
    int (*submit)(struct target *target, struct op *op);
    /* Sends what was submitted and waits until something has come back, or until it has to be
     * called again. 0 or a negative errno. */
    int (*wait)(struct target *target);
    /* Memory for the buffers of all the client's operations, all of it touched, and its end: after
     * the last operation, before `close`. NULL: memory_map's is as good as any. */
    int (*alloc)(struct target *target, size_t size_bytes, void **ret_memory);
    void (*free)(struct target *target, void *memory, size_t size_bytes);
    /* The tier that an operation would take now, as target_options.tier; NULL: there are none. */
    const char *(*tier)(struct target *target);
    /* With no operation in flight, unless `wait` failed. */
    void (*close)(struct target *target);
};

extern const struct target_type target_direct;
extern const struct target_type target_group;
extern const struct target_type target_uring;
extern const struct target_type target_blkd;
extern const struct target_type target_nbd;

/* Opens a file or block device and finds its size; for target_direct, target_group and
 * target_uring. Errors are said on stderr. */
int target_open_file(const struct target_options *options, int *ret_fd, uint64_t *ret_size_bytes);

/* Does a read or a write, waiting for it: 0 or a negative errno. */
int target_transfer_file(int fd, const struct op *op);

#endif
