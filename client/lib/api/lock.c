/* SPDX-License-Identifier: MIT */
/*
 * Locking and unlocking ranges of a device. A lock that is waited for is a request like any other
 * that takes long, but for one thing: closing the device does not wait for it (device.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/lib/api/config.h"
#include "client/lib/base/error.h"
#include "client/lib/base/reserved.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/verb.h"
#include "common/range.h"

_Static_assert((int)BLKD_LOST_BROKEN == (int)BLKD__LOCK_LOST__REASON__REASON_BROKEN &&
                   (int)BLKD_LOST_OUTSIDE == (int)BLKD__LOCK_LOST__REASON__REASON_OUTSIDE,
               "enum blkd_lost_reason is the wire's LockLost.Reason");

static void lock_build(const struct call *call, const struct request *part, Blkd__Request *message,
                       union call_body *body)
{
    (void)part;
    blkd__lock__init(&body->lock);
    body->lock.session = call->session->number;
    body->lock.mode = (Blkd__LockMode)call->asked.lock_mode;
    body->lock.offset_bytes = call->range.offset_bytes;
    body->lock.length_bytes = call->range.length_bytes;
    body->lock.wait_ms = call->asked.wait_ms;
    body->lock.isolate = call->asked.isolate;
    if (call->asked.text != NULL)
        body->lock.purpose = call->asked.text;
    message->op_case = BLKD__REQUEST__OP_LOCK;
    message->lock = &body->lock;
}

static int lock_reply(struct call *call, const Blkd__Reply *reply)
{
    if (reply->body_case != BLKD__REPLY__BODY_LOCK)
        return -EPROTO;
    if (call->asked.ret != NULL)
        *(uint64_t *)call->asked.ret = reply->lock->token;
    return 0;
}

/* "all of /srv/a.img", "8 sectors at sector 16 of /srv/a.img" */
static void lock_describe_range(const struct call *call, const char *verb, char *text, size_t size)
{
    uint32_t sector_size = call->session->sector_size;

    if (call->range.length_bytes == 0)
        (void)snprintf(text, size, "%s all of %s", verb, call->session->path);
    else
        (void)snprintf(text, size, "%s %" PRIu64 " sectors at sector %" PRIu64 " of %s", verb,
                       call->range.length_bytes / sector_size,
                       call->range.offset_bytes / sector_size, call->session->path);
}

static void lock_describe(const struct call *call, char *text, size_t size)
{
    lock_describe_range(
        call, call->asked.lock_mode == BLKD_LOCK_SHARED ? "shared lock on" : "exclusive lock on",
        text, size);
}

static const struct operation lock_operation = {
    .build = lock_build,
    .on_reply = lock_reply,
    .describe = lock_describe,
};

static void unlock_build(const struct call *call, const struct request *part,
                         Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__unlock__init(&body->unlock);
    body->unlock.session = call->session->number;
    body->unlock.offset_bytes = call->range.offset_bytes;
    body->unlock.length_bytes = call->range.length_bytes;
    message->op_case = BLKD__REQUEST__OP_UNLOCK;
    message->unlock = &body->unlock;
}

static void unlock_describe(const struct call *call, char *text, size_t size)
{
    lock_describe_range(call, "unlocking", text, size);
}

static const struct operation unlock_operation = {
    .build = unlock_build,
    .describe = unlock_describe,
};

/* The range in bytes; no sectors from the first on are the whole device. */
static int lock_range(const struct blkd_device *device, uint64_t first_sector,
                      uint64_t count_sectors, uint64_t *ret_offset_bytes,
                      uint64_t *ret_length_bytes)
{
    uint64_t offset_bytes, length_bytes, end_bytes;

    if (count_sectors == 0 && first_sector != 0)
        return error_report(-EINVAL,
                            "a lock of 0 sectors at sector %" PRIu64
                            " of %s: 0 sectors stand for the "
                            "whole device, which starts at sector 0",
                            first_sector, device->session.path);
    if (__builtin_mul_overflow(first_sector, (uint64_t)device->session.sector_size,
                               &offset_bytes) ||
        __builtin_mul_overflow(count_sectors, (uint64_t)device->session.sector_size,
                               &length_bytes) ||
        !range_end(offset_bytes, length_bytes, &end_bytes))
        return error_report(-EINVAL,
                            "a lock of %" PRIu64 " sectors at sector %" PRIu64 " of %s ends "
                            "beyond 2^63 - 1 bytes, the maximum size of a device",
                            count_sectors, first_sector, device->session.path);
    *ret_offset_bytes = offset_bytes;
    *ret_length_bytes = length_bytes;
    return 0;
}

static int lock_check(const struct blkd_device *device, const struct blkd_lock_request *request)
{
    if (request->mode != BLKD_LOCK_SHARED && request->mode != BLKD_LOCK_EXCLUSIVE)
        return error_report(-EINVAL,
                            "blkd_lock_request.mode for %s is neither shared nor "
                            "exclusive: %d",
                            device->session.path, (int)request->mode);
    if (request->isolate && request->mode != BLKD_LOCK_EXCLUSIVE)
        return error_report(
            -EINVAL,
            "a shared lock on %s cannot keep others from reading: isolate requires an "
            "exclusive lock",
            device->session.path);
    if (request->wait_ms < BLKD_WAIT_FOREVER)
        return error_report(
            -EINVAL,
            "blkd_lock_request.wait_ms for %s is %d; it must be 0 or more, or BLKD_WAIT_FOREVER",
            device->session.path, request->wait_ms);
    int error = RESERVED_CHECK("blkd_lock_request", request);
    return error < 0 ? error : config_check_purpose(request->purpose);
}

static int lock_fill(struct call *call, const struct blkd_lock_request *request)
{
    call->asked.lock_mode = request->mode;
    call->asked.isolate = request->isolate;
    call->asked.wait_ms = request->wait_ms == BLKD_WAIT_FOREVER
                              ? (uint32_t)BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER
                              : (uint32_t)request->wait_ms;
    call->asked.parked = request->wait_ms != 0;
    if (request->purpose == NULL || request->purpose[0] == '\0')
        return 0;
    call->asked.text = strdup(request->purpose);
    return call->asked.text != NULL
               ? 0
               : error_report(-ENOMEM, "not enough memory for the purpose of a lock");
}

static int lock_run(struct blkd_device *device, const struct blkd_lock_request *request,
                    uint64_t *ret_token, struct call_mode mode)
{
    struct blkd_lock_request asked = {0};
    uint64_t offset_bytes, length_bytes;
    struct call *call;
    int r;

    if (device == NULL)
        return error_report(-EINVAL, "cannot lock: device is NULL");
    if (request != NULL)
        asked = *request;
    if (asked.mode == BLKD_LOCK_NONE)
        asked.mode = BLKD_LOCK_EXCLUSIVE;
    r = lock_check(device, &asked);
    if (r == 0)
        r = lock_range(device, asked.first_sector, asked.count_sectors, &offset_bytes,
                       &length_bytes);
    if (r == 0)
        r = verb_begin(device->connection, device, &lock_operation, mode, &call);
    if (r != 0)
        return r;
    call->range.offset_bytes = offset_bytes;
    call->range.length_bytes = length_bytes;
    call->asked.ret = ret_token;
    r = lock_fill(call, &asked);
    return r < 0 ? verb_abandon(call, r) : verb_run(call);
}

static int unlock_run(struct blkd_device *device, uint64_t first_sector, uint64_t count_sectors,
                      struct call_mode mode)
{
    uint64_t offset_bytes, length_bytes;
    struct call *call;
    int r;

    if (device == NULL)
        return error_report(-EINVAL, "cannot unlock: device is NULL");
    r = lock_range(device, first_sector, count_sectors, &offset_bytes, &length_bytes);
    if (r == 0)
        r = verb_begin(device->connection, device, &unlock_operation, mode, &call);
    if (r < 0)
        return r;
    call->range.offset_bytes = offset_bytes;
    call->range.length_bytes = length_bytes;
    return verb_run(call);
}

int blkd_lock(struct blkd_device *device, const struct blkd_lock_request *request,
              uint64_t *ret_token)
{
    return lock_run(device, request, ret_token, CALL_WAITS);
}

int blkd_lock_async(struct blkd_device *device, const struct blkd_lock_request *request,
                    uint64_t *ret_token, blkd_callback *callback, void *user_data)
{
    return lock_run(device, request, ret_token, CALL_BACK(callback, user_data));
}

int blkd_unlock(struct blkd_device *device, uint64_t first_sector, uint64_t count_sectors)
{
    return unlock_run(device, first_sector, count_sectors, CALL_WAITS);
}

int blkd_unlock_async(struct blkd_device *device, uint64_t first_sector, uint64_t count_sectors,
                      blkd_callback *callback, void *user_data)
{
    return unlock_run(device, first_sector, count_sectors, CALL_BACK(callback, user_data));
}
