/* SPDX-License-Identifier: MIT */
/*
 * The verbs on a device that carry no data: flush, discard, write zeroes, resize, seek.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/verb.h"
#include "common/range.h"

static void flush_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__flush__init(&body->flush);
    body->flush.session = call->session->number;
    message->op_case = BLKD__REQUEST__OP_FLUSH;
    message->flush = &body->flush;
}

static void flush_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "flush of %s", call->session->path);
}

static const struct operation flush_operation = {
    .ring = RING_FLUSH,
    .build = flush_build,
    .describe = flush_describe,
};

static void discard_build(const struct call *call, const struct request *part,
                          Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__discard__init(&body->discard);
    body->discard.session = call->session->number;
    body->discard.offset_bytes = call->range.offset_bytes;
    body->discard.length_bytes = call->range.length_bytes;
    message->op_case = BLKD__REQUEST__OP_DISCARD;
    message->discard = &body->discard;
}

static void control_describe(const struct call *call, const char *verb, char *text, size_t size)
{
    uint32_t sector_size = call->session->sector_size;

    (void)snprintf(text, size, "%s %" PRIu64 " sectors at sector %" PRIu64 " of %s", verb,
                   call->range.length_bytes / sector_size, call->range.offset_bytes / sector_size,
                   call->session->path);
}

static void discard_describe(const struct call *call, char *text, size_t size)
{
    control_describe(call, "discarding", text, size);
}

static const struct operation discard_operation = {
    .changes = true,
    .ring = RING_DISCARD,
    .build = discard_build,
    .describe = discard_describe,
};

static void zeroes_build(const struct call *call, const struct request *part,
                         Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__write_zeroes__init(&body->write_zeroes);
    body->write_zeroes.session = call->session->number;
    body->write_zeroes.offset_bytes = call->range.offset_bytes;
    body->write_zeroes.length_bytes = call->range.length_bytes;
    body->write_zeroes.flags = call->range.flags;
    message->op_case = BLKD__REQUEST__OP_WRITE_ZEROES;
    message->write_zeroes = &body->write_zeroes;
}

static void zeroes_describe(const struct call *call, char *text, size_t size)
{
    control_describe(call, "zeroing", text, size);
}

static const struct operation zeroes_operation = {
    .changes = true,
    .ring = RING_WRITE_ZEROES,
    .build = zeroes_build,
    .describe = zeroes_describe,
};

/* The new size is the call's length. */
static void resize_build(const struct call *call, const struct request *part,
                         Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__resize__init(&body->resize);
    body->resize.session = call->session->number;
    body->resize.size_bytes = call->range.length_bytes;
    message->op_case = BLKD__REQUEST__OP_RESIZE;
    message->resize = &body->resize;
}

static void resize_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "resizing %s to %" PRIu64 " sectors", call->session->path,
                   call->range.length_bytes / call->session->sector_size);
}

static const struct operation resize_operation = {
    .build = resize_build,
    .describe = resize_describe,
};

static void seek_build(const struct call *call, Blkd__SeekTarget target, Blkd__Request *message,
                       union call_body *body)
{
    blkd__seek__init(&body->seek);
    body->seek.session = call->session->number;
    body->seek.offset_bytes = call->range.offset_bytes;
    body->seek.target = target;
    message->op_case = BLKD__REQUEST__OP_SEEK;
    message->seek = &body->seek;
}

static void seek_mapped_build(const struct call *call, const struct request *part,
                              Blkd__Request *message, union call_body *body)
{
    (void)part;
    seek_build(call, BLKD__SEEK_TARGET__SEEK_TARGET_MAPPED, message, body);
}

static void seek_unmapped_build(const struct call *call, const struct request *part,
                                Blkd__Request *message, union call_body *body)
{
    (void)part;
    seek_build(call, BLKD__SEEK_TARGET__SEEK_TARGET_UNMAPPED, message, body);
}

static int seek_reply(struct call *call, const Blkd__Reply *reply)
{
    if (reply->body_case != BLKD__REPLY__BODY_SEEK)
        return -EPROTO;
    *(uint64_t *)call->asked.ret = reply->seek->offset_bytes / call->session->sector_size;
    return 0;
}

static void seek_mapped_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "looking for allocated sectors from sector %" PRIu64 " of %s",
                   call->range.offset_bytes / call->session->sector_size, call->session->path);
}

static void seek_unmapped_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "looking for a hole from sector %" PRIu64 " of %s",
                   call->range.offset_bytes / call->session->sector_size, call->session->path);
}

static const struct operation seek_mapped_operation = {
    .build = seek_mapped_build,
    .on_reply = seek_reply,
    .describe = seek_mapped_describe,
};

static const struct operation seek_unmapped_operation = {
    .build = seek_unmapped_build,
    .on_reply = seek_reply,
    .describe = seek_unmapped_describe,
};

/* What a verb is asked to do, in the user's sectors. */
struct control {
    const struct operation *operation;
    const char *verb; /* for messages about the arguments */
    uint64_t sector;
    uint64_t count_sectors;
    unsigned int flags;
    bool empty; /* nothing to do if count_sectors is 0 */
    void *ret;
};

static int control_bytes(const struct blkd_device *device, const struct control *control,
                         uint64_t *ret_offset_bytes, uint64_t *ret_length_bytes)
{
    uint64_t offset_bytes, length_bytes, end_bytes;

    if (__builtin_mul_overflow(control->sector, (uint64_t)device->session.sector_size,
                               &offset_bytes) ||
        __builtin_mul_overflow(control->count_sectors, (uint64_t)device->session.sector_size,
                               &length_bytes) ||
        !range_end(offset_bytes, length_bytes, &end_bytes))
        return error_report(-EINVAL,
                            "%s %s: %" PRIu64 " sectors from sector %" PRIu64 " end beyond "
                            "2^63 - 1 bytes, the maximum size of a device",
                            control->verb, device->session.path, control->count_sectors,
                            control->sector);
    *ret_offset_bytes = offset_bytes;
    *ret_length_bytes = length_bytes;
    return 0;
}

static int control_run(struct blkd_device *device, struct control control, struct call_mode mode)
{
    uint64_t offset_bytes, length_bytes;
    struct call *call;
    int r;

    if (device == NULL)
        return error_report(-EINVAL, "device is NULL");
    if ((control.flags & ~(unsigned int)BLKD_WRITE_FUA) != 0)
        return error_report(-EINVAL, "%s %s: unknown flags 0x%x", control.verb,
                            device->session.path, control.flags);
    r = control_bytes(device, &control, &offset_bytes, &length_bytes);
    if (r == 0)
        r = verb_begin(device->connection, device, control.operation, mode, &call);
    if (r < 0)
        return r;
    call->range.offset_bytes = offset_bytes;
    call->range.length_bytes = length_bytes;
    call->range.flags = control.flags;
    call->asked.ret = control.ret;
    call->range.empty = control.empty && length_bytes == 0;
    return verb_run(call);
}

static int flush_run(struct blkd_device *device, struct call_mode mode)
{
    return control_run(device, (struct control){.operation = &flush_operation, .verb = "flushing"},
                       mode);
}

static int discard_run(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                       struct call_mode mode)
{
    return control_run(device,
                       (struct control){.operation = &discard_operation,
                                        .verb = "discarding",
                                        .sector = sector,
                                        .count_sectors = count_sectors,
                                        .empty = true},
                       mode);
}

static int zeroes_run(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                      unsigned int flags, struct call_mode mode)
{
    return control_run(device,
                       (struct control){.operation = &zeroes_operation,
                                        .verb = "zeroing",
                                        .sector = sector,
                                        .count_sectors = count_sectors,
                                        .flags = flags,
                                        .empty = true},
                       mode);
}

static int resize_run(struct blkd_device *device, uint64_t size_sectors, struct call_mode mode)
{
    return control_run(device,
                       (struct control){.operation = &resize_operation,
                                        .verb = "resizing",
                                        .count_sectors = size_sectors},
                       mode);
}

static int seek_run(struct blkd_device *device, const struct operation *operation, uint64_t sector,
                    uint64_t *ret_sector, struct call_mode mode)
{
    if (ret_sector == NULL)
        return error_report(-EINVAL, "cannot seek: ret_sector is NULL");
    return control_run(
        device,
        (struct control){
            .operation = operation, .verb = "seeking in", .sector = sector, .ret = ret_sector},
        mode);
}

int blkd_flush(struct blkd_device *device)
{
    return flush_run(device, CALL_WAITS);
}

int blkd_flush_async(struct blkd_device *device, blkd_callback *callback, void *user_data)
{
    return flush_run(device, CALL_BACK(callback, user_data));
}

int blkd_discard(struct blkd_device *device, uint64_t sector, uint64_t count_sectors)
{
    return discard_run(device, sector, count_sectors, CALL_WAITS);
}

int blkd_discard_async(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                       blkd_callback *callback, void *user_data)
{
    return discard_run(device, sector, count_sectors, CALL_BACK(callback, user_data));
}

int blkd_write_zeroes(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                      unsigned int flags)
{
    return zeroes_run(device, sector, count_sectors, flags, CALL_WAITS);
}

int blkd_write_zeroes_async(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                            unsigned int flags, blkd_callback *callback, void *user_data)
{
    return zeroes_run(device, sector, count_sectors, flags, CALL_BACK(callback, user_data));
}

int blkd_resize(struct blkd_device *device, uint64_t size_sectors)
{
    return resize_run(device, size_sectors, CALL_WAITS);
}

int blkd_resize_async(struct blkd_device *device, uint64_t size_sectors, blkd_callback *callback,
                      void *user_data)
{
    return resize_run(device, size_sectors, CALL_BACK(callback, user_data));
}

int blkd_seek_mapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector)
{
    return seek_run(device, &seek_mapped_operation, sector, ret_sector, CALL_WAITS);
}

int blkd_seek_mapped_async(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector,
                           blkd_callback *callback, void *user_data)
{
    return seek_run(device, &seek_mapped_operation, sector, ret_sector,
                    CALL_BACK(callback, user_data));
}

int blkd_seek_unmapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector)
{
    return seek_run(device, &seek_unmapped_operation, sector, ret_sector, CALL_WAITS);
}

int blkd_seek_unmapped_async(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector,
                             blkd_callback *callback, void *user_data)
{
    return seek_run(device, &seek_unmapped_operation, sector, ret_sector,
                    CALL_BACK(callback, user_data));
}
