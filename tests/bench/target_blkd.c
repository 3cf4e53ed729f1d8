/* SPDX-License-Identifier: MIT */
/*
 * libblkd through its public header alone: at depth 1 the waiting calls, above it callbacks and
 * blkd_dispatch, each what a user would take. Each client has a connection of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/blkd.h"
#include "common/cleanup.h"
#include "tests/bench/complaint.h"
#include "tests/bench/memory.h"
#include "tests/bench/target.h"

struct libblkd {
    struct target target;
    struct blkd *connection;
    struct blkd_device *device;
    uint32_t sector_size;
    bool waiting_calls;
    bool arena_buffers;
};

static const char *const tiers[] = {
    [BLKD_TIER_AUTO] = "auto",
    [BLKD_TIER_SOCKET] = "socket",
    [BLKD_TIER_RING] = "ring",
};
enum { TIERS = sizeof(tiers) / sizeof(tiers[0]) };

static enum blkd_tier tier_from_name(const char *name)
{
    enum blkd_tier tier = BLKD_TIER_AUTO;
    for (size_t i = 0; name && i < TIERS; i++)
        tier = strcmp(name, tiers[i]) == 0 ? (enum blkd_tier)i : tier;
    return tier;
}

static void cleanup_config(struct blkd_config **config)
{
    blkd_config_free(*config);
}

static int device_open(struct libblkd *libblkd, const struct target_options *options)
{
    CLEANUP(cleanup_config) struct blkd_config *config = NULL;
    int r = blkd_config_from_argument(options->address, &config);
    if (r < 0)
        return r;
    if (options->read_write)
        config->access = BLKD_ACCESS_READ_WRITE;
    r = blkd_open(libblkd->connection, config, &libblkd->device);
    if (r < 0)
        return r;
    struct blkd_info info;
    r = blkd_get_info(libblkd->device, &info);
    if (r < 0)
        return r;
    libblkd->sector_size = info.sector_size;
    libblkd->target.granule_bytes = info.sector_size;
    libblkd->target.size_bytes = info.size_sectors * info.sector_size;
    return 0;
}

/* For the bench 0 is a time, too. */
static int busy_poll(int busy_poll_us)
{
    if (busy_poll_us < 0)
        return BLKD_BUSY_POLL_DEFAULT;
    return busy_poll_us == 0 ? BLKD_BUSY_POLL_NEVER : busy_poll_us;
}

static int libblkd_connect(struct libblkd *libblkd, const struct target_options *options)
{
    struct blkd_options connect_options = {0};
    connect_options.socket_path = options->socket;
    connect_options.busy_poll_us = busy_poll(options->busy_poll_us);
    connect_options.tier = tier_from_name(options->tier);
    connect_options.send_on_dispatch = true; /* the loop submits outside callbacks, many at once */
    return blkd_connect(&connect_options, &libblkd->connection);
}

static void libblkd_close(struct target *target)
{
    struct libblkd *libblkd = (struct libblkd *)target;
    if (libblkd->device)
        blkd_close(libblkd->device);
    if (libblkd->connection)
        blkd_disconnect(libblkd->connection);
    free(libblkd);
}

static int libblkd_open(const struct target_options *options, struct target **ret_target)
{
    struct libblkd *libblkd = calloc(1, sizeof(*libblkd));
    if (!libblkd)
        return -ENOMEM;
    libblkd->target.type = &target_blkd;
    libblkd->waiting_calls = options->depth == 1;
    libblkd->arena_buffers = options->arena_buffers;
    int r = libblkd_connect(libblkd, options);
    if (r == 0 && !options->connect_only)
        r = device_open(libblkd, options);
    if (r < 0) {
        complain("cannot open %s through blkd: %s", options->address, blkd_error_message());
        libblkd_close(&libblkd->target);
        return r;
    }
    *ret_target = &libblkd->target;
    return 0;
}

static int libblkd_alloc(struct target *target, size_t size_bytes, void **ret_memory)
{
    const struct libblkd *libblkd = (const struct libblkd *)target;
    if (!libblkd->arena_buffers)
        return memory_map(size_bytes, ret_memory);
    int r = blkd_buffer_alloc(libblkd->connection, size_bytes, ret_memory);
    if (r == 0)
        memory_touch(*ret_memory, size_bytes);
    return r;
}

static void libblkd_free(struct target *target, void *memory, size_t size_bytes)
{
    const struct libblkd *libblkd = (const struct libblkd *)target;
    if (libblkd->arena_buffers)
        blkd_buffer_free(libblkd->connection, memory);
    else
        memory_unmap(memory, size_bytes);
}

static const char *libblkd_tier(struct target *target)
{
    enum blkd_tier tier = BLKD_TIER_AUTO;
    int r = blkd_get_tier(((struct libblkd *)target)->connection, &tier);
    return r < 0 || (size_t)tier >= TIERS ? NULL : tiers[tier];
}

static int submit_waiting(const struct libblkd *libblkd, struct op *op, uint64_t sector)
{
    int r;
    if (op->kind == OP_READ)
        r = blkd_read(libblkd->device, sector, &op->buffer, 1);
    else if (op->kind == OP_WRITE)
        r = blkd_write(libblkd->device, sector, &op->buffer, 1, 0);
    else
        r = blkd_flush(libblkd->device);
    op_complete(op, r);
    return 0;
}

static void on_done(void *user_data, int result)
{
    op_complete(user_data, result);
}

static int libblkd_submit(struct target *target, struct op *op)
{
    const struct libblkd *libblkd = (const struct libblkd *)target;
    uint64_t sector = op->offset_bytes / libblkd->sector_size;
    if (libblkd->waiting_calls)
        return submit_waiting(libblkd, op, sector);
    if (op->kind == OP_READ)
        return blkd_read_async(libblkd->device, sector, &op->buffer, 1, on_done, op);
    if (op->kind == OP_WRITE)
        return blkd_write_async(libblkd->device, sector, &op->buffer, 1, 0, on_done, op);
    return blkd_flush_async(libblkd->device, on_done, op);
}

static int libblkd_wait(struct target *target)
{
    int r = blkd_dispatch(((struct libblkd *)target)->connection, -1);
    return r < 0 ? r : 0;
}

const struct target_type target_blkd = {
    .scheme = "blkd",
    .open = libblkd_open,
    .submit = libblkd_submit,
    .wait = libblkd_wait,
    .alloc = libblkd_alloc,
    .free = libblkd_free,
    .tier = libblkd_tier,
    .close = libblkd_close,
};
