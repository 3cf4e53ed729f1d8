/* SPDX-License-Identifier: MIT */
/* See pool.h. The pool's address changes only while there is no engine, so it needs no mutex. */
#include "daemon/engine/pool.h"

#include <assert.h>
#include <errno.h>

#include "common/limits.h"
#include "daemon/base/privileges.h"

static struct helper_pool *pool;

int engine_global_init(void)
{
    assert(!pool);
    return helper_new(ENGINE_THREADS_MAX, "blkd-engine", &pool);
}

void engine_global_deinit(void)
{
    pool = helper_free(pool);
}

struct helper_pool *engine_pool(void)
{
    assert(pool);
    return pool;
}

static ssize_t transfer_with_flags(const struct engine_io *io)
{
    off_t offset = (off_t)io->offset_bytes;

    return io->op == ENGINE_READ ? preadv2(io->fd, io->iov, io->iov_count, offset, io->rw_flags)
                                 : pwritev2(io->fd, io->iov, io->iov_count, offset, io->rw_flags);
}

static ssize_t transfer_plainly(const struct engine_io *io)
{
    off_t offset = (off_t)io->offset_bytes;

    return io->op == ENGINE_READ ? preadv(io->fd, io->iov, io->iov_count, offset)
                                 : pwritev(io->fd, io->iov, io->iov_count, offset);
}

/* A sandbox may refuse the newer calls. What needs no flags can do without them; if it is the file
 * that refuses, the older call says the same. */
static ssize_t transfer_once(const struct engine_io *io)
{
    ssize_t got = transfer_with_flags(io);

    if (got < 0 && io->rw_flags == 0 && (errno == ENOSYS || errno == EPERM))
        got = transfer_plainly(io);
    return got < 0 ? -errno : got;
}

ssize_t engine_transfer(const struct engine_io *io)
{
    ssize_t result;

    privileges_lend_none();
    do
        result = transfer_once(io);
    while (result == -EINTR);
    return result;
}
