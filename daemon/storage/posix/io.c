/* SPDX-License-Identifier: MIT */
/*
 * How an io reaches the device: inline, by the engine, or on a helper thread. Short transfers are
 * finished here.
 */
#include <assert.h>
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/container.h"
#include "common/limits.h"
#include "daemon/storage/posix/posix.h"

static void posix_engine(struct posix *posix, struct io *io);

bool posix_writes_inline(const struct backend *backend)
{
    const struct posix *posix = (const struct posix *)(const void *)backend;
    return posix->writes == POSIX_INLINE && posix->changes == 0;
}

enum discard_method posix_discard_method(const struct backend *backend)
{
    return ((const struct posix *)(const void *)backend)->discard;
}

const char *posix_policy(const struct backend *backend)
{
    static const char *const names[3][3] = {
        [POSIX_INLINE] = {"inline/inline", "inline/nowait", "inline/engine"},
        [POSIX_NOWAIT] = {"nowait/inline", "nowait/nowait", "nowait/engine"},
        [POSIX_ENGINE] = {"engine/inline", "engine/nowait", "engine/engine"},
    };
    const struct posix *posix = (const struct posix *)(const void *)backend;
    /* Loaded by name: gcc does not take an atomic load for an index. */
    enum posix_way reads = atomic_load(&posix->reads);
    enum posix_way writes = atomic_load(&posix->writes);
    return names[reads][writes];
}

static void posix_set_vector(struct io *io)
{
    io->vector = (struct iovec){.iov_base = io->data + io->done_bytes,
                                .iov_len = (size_t)(io->length_bytes - io->done_bytes)};
}

/* ---- the engine ---- */

/* Errors of the write half of RWF_DSYNC, which one errno stands for both halves of: nothing was
 * synced. A file system allocates when it writes; a device that is out of space says so when it is
 * synced. */
static bool posix_is_write_error(const struct posix *posix, int error)
{
    switch (error) {
    case -EINVAL:
    case -EFAULT:
    case -EBADF:
    case -EAGAIN:
    case -ENOMEM:
    case -EOPNOTSUPP:
    case -EPERM:
    case -EFBIG:
        return true;
    case -ENOSPC:
    case -EDQUOT:
        return posix->kind == DEVICE_FILE;
    default:
        return false;
    }
}

static void on_posix_fua_sync(struct helper_job *job)
{
    struct io *io = CONTAINER_OF(job, struct io, job);
    struct posix *posix = posix_of(io->backend);
    io->result = posix->calls->sync(posix->cursor_fd);
    io->sync_failed = io->result < 0;
}

static void on_posix_fua_synced(struct helper_job *job)
{
    struct io *io = CONTAINER_OF(job, struct io, job);
    io->on_done(io, io->result);
}

/* A write has ended. Where RWF_DSYNC cannot be relied on, the sync that makes it stable comes now.
 */
static void posix_written(struct posix *posix, struct io *io, int result)
{
    if (io->fua && result == 0 && !posix->keeps_dsync) {
        io->job = (struct helper_job){.run = on_posix_fua_sync,
                                      .on_done = on_posix_fua_synced,
                                      .shares = {&posix->base.share, io->user_share}};
        loop_submit(&io->loop->base, &io->job);
        return;
    }
    io->sync_failed =
        io->fua && result < 0 && posix->keeps_dsync && !posix_is_write_error(posix, result);
    io->on_done(io, result);
}

static void posix_finish(struct posix *posix, struct io *io, int result)
{
    if (io->op == IO_WRITE) {
        posix_written(posix, io, result);
        return;
    }
    if (posix->reads == POSIX_NOWAIT)
        atomic_fetch_sub(&posix->read_misses, 1);
    io->on_done(io, result);
}

static int posix_flags(const struct posix *posix, const struct io *io)
{
    return io->fua && posix->keeps_dsync ? RWF_DSYNC : 0;
}

static void on_posix_transferred(struct engine_io *engine_io, ssize_t result)
{
    struct io *io = CONTAINER_OF(engine_io, struct io, engine_io);
    struct posix *posix = posix_of(io->backend);
    if (result < 0) {
        posix_finish(posix, io, (int)result);
        return;
    }
    io->done_bytes += (uint64_t)result;
    if (io->done_bytes == io->length_bytes)
        posix_finish(posix, io, 0);
    else if (result == 0) /* the file has become shorter behind the daemon's back */
        posix_finish(posix, io, -EIO);
    else
        posix_engine(posix, io);
}

static void posix_engine(struct posix *posix, struct io *io)
{
    posix_set_vector(io);
    io->engine_io = (struct engine_io){
        .op = io->op == IO_READ ? ENGINE_READ : ENGINE_WRITE,
        .fd = posix->data_fd,
        .iov = &io->vector,
        .iov_count = 1,
        .offset_bytes = io->offset_bytes + io->done_bytes,
        .rw_flags = posix_flags(posix, io),
        .punts = posix->punts || (!posix->direct && io->op == IO_WRITE),
        /* A block device takes several at a time. */
        .copies = io->op == IO_WRITE && !io->fua && !posix->direct && !posix->punts &&
                  posix->kind == DEVICE_FILE,
        .target = &posix->target,
        .memory = io->memory,
        .on_done = on_posix_transferred,
    };
    engine_submit(io->loop->engine, &io->engine_io);
}

/* ---- inline ---- */

/* pread and pwrite, where they do, are a tenth of a microsecond faster than the forms with flags.
 */
static ssize_t posix_call(int fd, const struct io *io, int rw_flags)
{
    off_t offset = (off_t)(io->offset_bytes + io->done_bytes);
    void *data = io->vector.iov_base;
    size_t length = io->vector.iov_len;
    if (rw_flags == 0)
        return io->op == IO_READ ? pread(fd, data, length, offset)
                                 : pwrite(fd, data, length, offset);
    return io->op == IO_READ ? preadv2(fd, &io->vector, 1, offset, rw_flags)
                             : pwritev2(fd, &io->vector, 1, offset, rw_flags);
}

/* Transfers what it can on this thread. 0: all of it; 1: the engine must do the rest; or a negative
 * errno. */
static int posix_transfer(struct posix *posix, struct io *io, int rw_flags)
{
    int fd = posix->data_fd;
    while (io->done_bytes < io->length_bytes) {
        posix_set_vector(io);
        ssize_t result = posix_call(fd, io, rw_flags);
        if (result < 0 && errno == EINTR)
            continue;
        if (result < 0)
            return errno == EAGAIN ? 1 : -errno;
        if (result == 0)
            return -EIO;
        io->done_bytes += (uint64_t)result;
    }
    return 0;
}

/* The file system does not know RWF_NOWAIT, or a sandbox refuses the call that takes it. If it is
 * the file that refuses, the engine finds out. */
static bool posix_is_refused(int result)
{
    return result == -EOPNOTSUPP || result == -ENOSYS || result == -EPERM;
}

static void posix_read(struct posix *posix, struct io *io)
{
    enum posix_way way = posix->reads;
    int result = 1;
    if (way == POSIX_INLINE)
        result = posix_transfer(posix, io, 0);
    else if (way == POSIX_NOWAIT && posix->read_misses < INLINE_MISSES_MAX)
        result = posix_transfer(posix, io, RWF_NOWAIT);
    if (way == POSIX_NOWAIT && posix_is_refused(result)) {
        posix->reads = POSIX_ENGINE;
        way = POSIX_ENGINE;
        result = 1;
    }
    if (result <= 0) {
        io->on_done(io, result);
        return;
    }
    if (way == POSIX_NOWAIT)
        atomic_fetch_add(&posix->read_misses, 1);
    posix_engine(posix, io);
}

static void posix_write(struct posix *posix, struct io *io)
{
    enum posix_way way = posix->writes;
    int result = 1;
    if (way == POSIX_INLINE && (io->borrowed || posix->changes == 0))
        result = posix_transfer(posix, io, posix_flags(posix, io));
    else if (way == POSIX_NOWAIT && !io->fua)
        result = posix_transfer(posix, io, RWF_NOWAIT);
    if (way == POSIX_NOWAIT && posix_is_refused(result)) {
        posix->writes = POSIX_ENGINE;
        result = 1;
    }
    if (result <= 0)
        posix_written(posix, io, result);
    else
        posix_engine(posix, io);
}

/* ---- helper threads ---- */

static void on_posix_verb(struct helper_job *job)
{
    struct io *io = CONTAINER_OF(job, struct io, job);
    struct posix *posix = posix_of(io->backend);
    switch (io->op) {
    case IO_ZERO:
    case IO_DISCARD:
        io->result = posix_do_zero(posix, io);
        break;
    case IO_SYNC:
        io->result = posix_do_sync(posix, io);
        break;
    case IO_RESIZE:
        io->result = posix_do_resize(posix, io);
        break;
    case IO_SEEK:
        io->result = posix_do_seek(posix, io);
        break;
    case IO_GUARD:
        io->result = posix_do_guard(posix, io);
        break;
    case IO_DROP:
        io->result = posix_do_drop(posix, io);
        break;
    case IO_REFRESH:
        io->result = posix_do_refresh(posix);
        break;
    case IO_LOOK:
        io->result = posix_do_look(posix, io);
        break;
    case IO_READ:
    case IO_WRITE:
        assert(false);
    }
}

/* What holds the file against writes while it runs. */
static bool posix_is_change(const struct io *io)
{
    return io->op == IO_ZERO || io->op == IO_DISCARD || io->op == IO_RESIZE;
}

static void on_posix_verb_done(struct helper_job *job)
{
    struct io *io = CONTAINER_OF(job, struct io, job);
    if (posix_is_change(io))
        atomic_fetch_sub(&posix_of(io->backend)->changes, 1);
    io->on_done(io, io->result);
}

static void posix_help(struct posix *posix, struct io *io)
{
    io->job = (struct helper_job){.run = on_posix_verb, .on_done = on_posix_verb_done};
    io->job.shares[0] = &posix->base.share;
    io->job.shares[1] = io->user_share;
    if (posix_is_change(io))
        atomic_fetch_add(&posix->changes, 1);
    loop_submit(&io->loop->base, &io->job);
}

/* On memory there is nothing that could block, unless the fault engine wants it to. */
static void posix_sync(struct posix *posix, struct io *io)
{
    engine_verb_fault(io->loop->engine, &io->fault_delay_us, &io->fault_error);
    if (posix->memory && io->fault_delay_us == 0 && io->fault_error == 0)
        io->on_done(io, posix_do_sync(posix, io));
    else
        posix_help(posix, io);
}

void posix_submit(struct backend *backend, struct io *io)
{
    struct posix *posix = posix_of(backend);
    io->done_bytes = 0;
    io->sync_failed = false;
    if (io->op == IO_READ)
        posix_read(posix, io);
    else if (io->op == IO_WRITE)
        posix_write(posix, io);
    else if (io->op == IO_SYNC)
        posix_sync(posix, io);
    else
        posix_help(posix, io);
}
