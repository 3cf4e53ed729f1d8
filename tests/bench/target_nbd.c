/* SPDX-License-Identifier: MIT */
/*
 * libnbd, as its manual says: at depth 1 the waiting calls, above it nbd_aio_pread and nbd_poll
 * (libnbd(3), "Issuing asynchronous commands"). It is told not to clear the read buffers first, as
 * nbdcopy does: the comparison is with NBD at its best.
 */
#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/bench/complaint.h"
#include "tests/bench/target.h"

struct nbd {
    struct target target;
    struct nbd_handle *handle;
    bool waiting_calls;
};

static int nbd_errno(void)
{
    int error = nbd_get_errno();
    return error ? -error : -EIO;
}

static void cleanup_handle(struct nbd_handle **handle)
{
    nbd_close(*handle);
}

static int connect_to(struct nbd_handle *handle, const char *uri, uint64_t *ret_size_bytes)
{
    if (nbd_set_pread_initialize(handle, false) < 0 || nbd_connect_uri(handle, uri) < 0)
        return nbd_errno();
    int64_t size = nbd_get_size(handle);
    if (size < 0)
        return nbd_errno();
    *ret_size_bytes = (uint64_t)size;
    return 0;
}

static int target_nbd_open(const struct target_options *options, struct target **ret_target)
{
    CLEANUP_FREE struct nbd *nbd = calloc(1, sizeof(*nbd));
    CLEANUP(cleanup_handle) struct nbd_handle *handle = nbd_create();
    if (!nbd || !handle)
        return -ENOMEM;
    int r = connect_to(handle, options->address, &nbd->target.size_bytes);
    if (r < 0) {
        complain("cannot connect to %s: %s", options->address, nbd_get_error());
        return r;
    }
    int64_t block = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    nbd->target.granule_bytes = block > 0 ? (uint32_t)block : 1;
    nbd->target.type = &target_nbd;
    nbd->handle = TAKE_PTR(handle);
    nbd->waiting_calls = options->depth == 1;
    *ret_target = &TAKE_PTR(nbd)->target;
    return 0;
}

static int submit_waiting(const struct nbd *nbd, struct op *op)
{
    void *base = op->buffer.iov_base;
    size_t length = op->buffer.iov_len;
    int r;
    if (op->kind == OP_READ)
        r = nbd_pread(nbd->handle, base, length, op->offset_bytes, 0);
    else if (op->kind == OP_WRITE)
        r = nbd_pwrite(nbd->handle, base, length, op->offset_bytes, 0);
    else
        r = nbd_flush(nbd->handle, 0);
    op_complete(op, r < 0 ? nbd_errno() : 0);
    return 0;
}

/* 1: libnbd may forget the command (libnbd(3), "Completion callbacks"). */
static int on_done(void *user_data, int *error)
{
    op_complete(user_data, *error ? -*error : 0);
    return 1;
}

static int target_nbd_submit(struct target *target, struct op *op)
{
    const struct nbd *nbd = (const struct nbd *)target;
    if (nbd->waiting_calls)
        return submit_waiting(nbd, op);
    nbd_completion_callback callback = {.callback = on_done, .user_data = op};
    void *base = op->buffer.iov_base;
    size_t length = op->buffer.iov_len;
    int64_t cookie;
    if (op->kind == OP_READ)
        cookie = nbd_aio_pread(nbd->handle, base, length, op->offset_bytes, callback, 0);
    else if (op->kind == OP_WRITE)
        cookie = nbd_aio_pwrite(nbd->handle, base, length, op->offset_bytes, callback, 0);
    else
        cookie = nbd_aio_flush(nbd->handle, callback, 0);
    return cookie < 0 ? nbd_errno() : 0;
}

static int target_nbd_wait(struct target *target)
{
    return nbd_poll(((struct nbd *)target)->handle, -1) < 0 ? nbd_errno() : 0;
}

static void target_nbd_close(struct target *target)
{
    struct nbd *nbd = (struct nbd *)target;
    (void)nbd_shutdown(nbd->handle, 0);
    nbd_close(nbd->handle);
    free(nbd);
}

const struct target_type target_nbd = {
    .scheme = "nbd",
    .open = target_nbd_open,
    .submit = target_nbd_submit,
    .wait = target_nbd_wait,
    .close = target_nbd_close,
};
