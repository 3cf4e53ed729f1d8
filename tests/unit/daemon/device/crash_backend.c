/* SPDX-License-Identifier: MIT */
#include "tests/unit/daemon/device/crash_backend.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

static struct crash_backend *crash_of(struct backend *backend)
{
    return (struct crash_backend *)(void *)backend;
}

/* The worst case of a sync: it sees nothing that ends after this. */
static void crash_sync_begin(struct crash_backend *crash)
{
    crash->syncs_overlapped = crash->syncs_overlapped || crash->syncs_held > 0;
    crash->syncs_held++;
    for (unsigned int i = 0; i < CRASH_BLOCKS; i++) {
        struct crash_block *block = &crash->blocks[i];
        block->syncing = block->dirty ? block->written : 0;
        block->dirty = false;
    }
}

static void crash_sync_end(struct crash_backend *crash, int result)
{
    crash->syncs_held--;
    for (unsigned int i = 0; i < CRASH_BLOCKS; i++) {
        struct crash_block *block = &crash->blocks[i];
        /* A FUA write may have overtaken it. */
        if (result == 0 && block->syncing > block->durable)
            block->durable = block->syncing;
        block->syncing = 0;
    }
}

static void crash_change(struct crash_backend *crash, struct io *io, int result)
{
    unsigned int last = result == 0 ? crash_last_block(io) : crash_first_block(io);
    io->value = ++crash->changes;
    for (unsigned int i = crash_first_block(io); i <= last; i++) {
        struct crash_block *block = &crash->blocks[i];
        block->written = io->value;
        block->dirty = true;
        if (result == 0 && io->fua) {
            block->durable = io->value;
            block->dirty = false;
        }
    }
}

static void crash_submit(struct backend *backend, struct io *io)
{
    struct crash_backend *crash = crash_of(backend);
    assert(crash->held_count < CRASH_HELD_MAX);
    crash->held[crash->held_count++] = io;
    if (io->op == IO_SYNC)
        crash_sync_begin(crash);
}

void crash_backend_end(struct crash_backend *crash, unsigned int index, int result)
{
    struct io *io = crash->held[index];
    crash->held[index] = crash->held[--crash->held_count];
    if (io->op == IO_SYNC)
        crash_sync_end(crash, result);
    else if (io->op == IO_GUARD)
        io->value = result == 0 ? io->guard_mode : GUARD_NONE;
    else if (io->op != IO_READ)
        crash_change(crash, io, result);
    io->sync_failed = io->fua && result == -EIO;
    io->on_done(io, result);
}

unsigned int crash_first_block(const struct io *io)
{
    return (unsigned int)(io->offset_bytes / CRASH_BLOCK_BYTES);
}

unsigned int crash_last_block(const struct io *io)
{
    return (unsigned int)((io->offset_bytes + io->length_bytes - 1) / CRASH_BLOCK_BYTES);
}

static bool crash_writes_inline(const struct backend *backend)
{
    (void)backend;
    return false;
}

static enum discard_method crash_discard_method(const struct backend *backend)
{
    (void)backend;
    return DISCARD_WRITE;
}

static const char *crash_policy(const struct backend *backend)
{
    (void)backend;
    return "held/held";
}

static void crash_pin(struct backend *backend, struct engine *engine)
{
    (void)backend;
    (void)engine;
}

static int crash_adopt(struct backend *backend, struct backend *donor)
{
    (void)backend;
    (void)donor;
    return -EOPNOTSUPP;
}

static void crash_close(struct backend *backend)
{
    struct crash_backend *crash = crash_of(backend);
    assert(crash->held_count == 0 && !crash->closed);
    crash->closed = true;
}

void crash_backend_init(struct crash_backend *crash)
{
    static const struct backend_ops ops = {
        .submit = crash_submit,
        .writes_inline = crash_writes_inline,
        .discard_method = crash_discard_method,
        .policy = crash_policy,
        .pin = crash_pin,
        .unpin = crash_pin,
        .adopt = crash_adopt,
        .close = crash_close,
    };
    *crash = (struct crash_backend){.backend = {.ops = &ops}};
}
