/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes. What can be known here is checked here (whole sectors, arithmetic); whether the
 * range is within the device only the daemon knows, for another session may have resized it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/base/error.h"
#include "client/lib/call/request.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/verb.h"
#include "common/range.h"

/* A range as the user gives it, checked and in bytes. */
struct io_range {
    uint64_t offset_bytes;
    uint64_t length_bytes;
};

/* For parts of a transfer: the daemon checks the bounds of the whole. */
static uint64_t io_transfer_end(const struct call *call, const struct request *part)
{
    return part->length_bytes < call->range.length_bytes
               ? call->range.offset_bytes + call->range.length_bytes
               : 0;
}

static void read_build(const struct call *call, const struct request *part, Blkd__Request *message,
                       union call_body *body)
{
    blkd__read__init(&body->read);
    body->read.session = call->session->number;
    body->read.offset_bytes = part->offset_bytes;
    body->read.length_bytes = part->length_bytes;
    body->read.transfer_end_bytes = io_transfer_end(call, part);
    message->op_case = BLKD__REQUEST__OP_READ;
    message->read = &body->read;
}

static void write_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    blkd__write__init(&body->write);
    body->write.session = call->session->number;
    body->write.offset_bytes = part->offset_bytes;
    body->write.flags = call->range.flags;
    body->write.transfer_end_bytes = io_transfer_end(call, part);
    message->op_case = BLKD__REQUEST__OP_WRITE;
    message->write = &body->write;
}

static void io_describe(const struct call *call, const char *verb, char *text, size_t size)
{
    const struct session *session = call->session;

    (void)snprintf(text, size,
                   "%s of %" PRIu64 " bytes at sector %" PRIu64 " (offset %" PRIu64 ") of %s", verb,
                   call->range.length_bytes, call->range.offset_bytes / session->sector_size,
                   call->range.offset_bytes, session->path);
}

static void read_describe(const struct call *call, char *text, size_t size)
{
    io_describe(call, "read", text, size);
}

static void write_describe(const struct call *call, char *text, size_t size)
{
    io_describe(call, "write", text, size);
}

static const struct operation read_operation = {
    .payload = CALL_PAYLOAD_IN,
    .ring = RING_READ,
    .build = read_build,
    .describe = read_describe,
};

static const struct operation write_operation = {
    .payload = CALL_PAYLOAD_OUT,
    .changes = true,
    .ring = RING_WRITE,
    .build = write_build,
    .describe = write_describe,
};

static const char *io_verb(const struct operation *operation)
{
    return operation == &read_operation ? "read" : "write";
}

static int io_check_buffer(const struct blkd_device *device, const struct operation *operation,
                           uint64_t sector, const struct iovec *buffers, size_t index)
{
    const struct iovec *buffer = &buffers[index];

    if (buffer->iov_len % device->session.sector_size != 0)
        return error_report(-EINVAL,
                            "%s at sector %" PRIu64
                            " of %s: buffer %zu (counting from 0) is %zu bytes long, "
                            "which is not a whole number of sectors of %u bytes",
                            io_verb(operation), sector, device->session.path, index,
                            buffer->iov_len, device->session.sector_size);
    if (buffer->iov_base == NULL && buffer->iov_len > 0)
        return error_report(
            -EFAULT,
            "%s at sector %" PRIu64 " of %s: buffer %zu (counting from 0) is NULL but "
            "%zu bytes long",
            io_verb(operation), sector, device->session.path, index, buffer->iov_len);
    return 0;
}

static int io_check_range(const struct blkd_device *device, const struct operation *operation,
                          uint64_t sector, uint64_t length_bytes, struct io_range *ret_range)
{
    uint64_t offset_bytes, end_bytes;

    if (__builtin_mul_overflow(sector, (uint64_t)device->session.sector_size, &offset_bytes) ||
        !range_end(offset_bytes, length_bytes, &end_bytes))
        return error_report(-EINVAL,
                            "%s of %" PRIu64 " bytes at sector %" PRIu64 " of %s: the range ends "
                            "beyond 2^63 - 1 bytes, the maximum size of a device",
                            io_verb(operation), length_bytes, sector, device->session.path);
    *ret_range = (struct io_range){offset_bytes, length_bytes};
    return 0;
}

static int io_check(const struct blkd_device *device, const struct operation *operation,
                    uint64_t sector, const struct iovec *buffers, size_t count,
                    struct io_range *ret_range)
{
    uint64_t length_bytes = 0;

    if (device == NULL || (buffers == NULL && count > 0))
        return error_report(-EINVAL, "%s: %s is NULL", io_verb(operation),
                            device == NULL ? "device" : "buffers");
    for (size_t i = 0; i < count; i++) {
        int r = io_check_buffer(device, operation, sector, buffers, i);
        if (r < 0)
            return r;
        if (__builtin_add_overflow(length_bytes, buffers[i].iov_len, &length_bytes))
            length_bytes = UINT64_MAX; /* refused as any other range that is too long */
    }
    return io_check_range(device, operation, sector, length_bytes, ret_range);
}

/* The call gets a list of its own, for one that outlives the function that made it. */
static int io_copy_list(struct call *call, const struct iovec *buffers, size_t count)
{
    call->buffers.copy =
        count <= CALL_BUFFERS_FEW ? call->buffers.few : malloc(count * sizeof(*buffers));
    if (call->buffers.copy == NULL)
        return error_report(-ENOMEM, "not enough memory for a list of %zu buffers", count);
    if (count > 0)
        memcpy(call->buffers.copy, buffers, count * sizeof(*buffers));
    cursor_init(&call->progress.cursor, call->buffers.copy);
    return 0;
}

static int io_transfer(struct blkd_device *device, const struct operation *operation,
                       uint64_t sector, const struct iovec *buffers, size_t count,
                       unsigned int flags, struct call_mode mode)
{
    struct io_range range;
    struct call *call;
    int r = io_check(device, operation, sector, buffers, count, &range);

    if (r < 0)
        return r;
    if ((flags & ~(unsigned int)BLKD_WRITE_FUA) != 0)
        return error_report(-EINVAL, "write to %s: unknown flags 0x%x", device->session.path,
                            flags);
    r = verb_begin(device->connection, device, operation, mode, &call);
    if (r < 0)
        return r;
    call->range.offset_bytes = range.offset_bytes;
    call->range.length_bytes = range.length_bytes;
    call->range.empty = range.length_bytes == 0;
    call->range.flags = flags;
    if (mode.waits)
        cursor_init(&call->progress.cursor, buffers);
    else
        r = io_copy_list(call, buffers, count);
    return r < 0 ? verb_abandon(call, r) : verb_run(call);
}

int blkd_read(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
              size_t count)
{
    return io_transfer(device, &read_operation, sector, buffers, count, 0, CALL_WAITS);
}

int blkd_read_async(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                    size_t count, blkd_callback *callback, void *user_data)
{
    return io_transfer(device, &read_operation, sector, buffers, count, 0,
                       CALL_BACK(callback, user_data));
}

int blkd_write(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
               size_t count, unsigned int flags)
{
    return io_transfer(device, &write_operation, sector, buffers, count, flags, CALL_WAITS);
}

int blkd_write_async(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                     size_t count, unsigned int flags, blkd_callback *callback, void *user_data)
{
    return io_transfer(device, &write_operation, sector, buffers, count, flags,
                       CALL_BACK(callback, user_data));
}
