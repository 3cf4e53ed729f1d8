/* SPDX-License-Identifier: MIT */
/*
 * See device.h. Closing, and what is asked about an open device; opening is in open.c.
 */
#include "client/lib/core/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/api/config.h"
#include "client/lib/api/info.h"
#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/call/call.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/wait.h"
#include "client/lib/link/sender.h"

void device_free(struct blkd_device *device)
{
    if (device == NULL)
        return;
    if (device->link.le_prev != NULL)
        LIST_REMOVE(device, link);
    if (device->close_call != NULL)
        call_release(device->close_call);
    free(device->path);
    free(device->purpose);
    free(device);
}

struct blkd_device *device_find(struct blkd *connection, uint64_t session)
{
    struct blkd_device *device;

    LIST_FOREACH (device, &connection->devices, link)
        if (device->session == session && !device->closing)
            return device;
    return NULL;
}

/* ---- closing ---- */

static void close_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__close__init(&body->close);
    body->close.session = call->device->session;
    message->op_case = BLKD__REQUEST__OP_CLOSE;
    message->close = &body->close;
}

static void close_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "closing %s", call->device->path);
}

static void close_done(struct call *call)
{
    struct blkd_device *device = call->device;

    call->device = NULL;
    device->pending--;
    device->closed = true;
    if (device->pending == 0)
        device_free(device);
}

static const struct operation close_operation = {
    .build = close_build,
    .describe = close_describe,
    .on_done = close_done,
};

static void device_close_advance(struct blkd_device *device)
{
    struct call *call = device->close_call;

    if (!device->closing)
        return;
    if (call != NULL && device->pending == device->parked) {
        device->close_call = NULL;
        call_submit(call);
    } else if (device->closed && device->pending == 0) {
        device_free(device);
    }
}

void device_call_began(struct blkd_device *device, bool parked)
{
    device->pending++;
    device->parked += parked;
}

void device_call_ended(struct blkd_device *device, bool parked)
{
    device->pending--;
    device->parked -= parked;
    device_close_advance(device);
}

/* Mutex held. The call goes out when the device's other calls are done or parked; what comes of it
 * may free it at once when nobody waits. */
static void device_close_start(struct blkd_device *device, struct call_mode mode)
{
    struct call *call = device->close_call;

    call->operation = &close_operation;
    call->device = device;
    call->mode = mode;
    device->closing = true;
    device_close_advance(device);
}

static int device_close(struct blkd_device *device, struct call_mode mode)
{
    struct blkd *connection = device->connection;
    struct call *call;
    int result = 0;

    pthread_mutex_lock(&connection->mutex);
    if (device->closing) {
        result = error_report(-EBADF, "%s is being closed already", device->path);
        pthread_mutex_unlock(&connection->mutex);
        return result;
    }
    call = device->close_call;
    device_close_start(device, mode);
    if (!dispatch_inside(connection))
        sender_push(connection);
    if (mode.waits) {
        (void)wait_for_call(call, CLOCK_NO_DEADLINE);
        call_tell_message(call);
        call_release(call);
    } else if (!dispatch_inside(connection)) {
        wait_leave(connection);
    }
    pthread_mutex_unlock(&connection->mutex);
    return result;
}

void blkd_close(struct blkd_device *device)
{
    struct call_mode mode = CALL_WAITS;

    if (device == NULL || forkguard_tripped(&device->connection->forkguard))
        return;
    if (dispatch_inside(device->connection))
        mode = CALL_BACK(NULL, NULL);
    (void)device_close(device, mode);
}

int blkd_close_async(struct blkd_device *device, blkd_callback *callback, void *user_data)
{
    struct call_mode mode = CALL_BACK(callback, user_data);

    if (device == NULL)
        return error_report(-EINVAL, "closing no device");
    if (forkguard_tripped(&device->connection->forkguard))
        return call_check(device->connection, mode);
    return device_close(device, mode);
}

/* ---- info ---- */

static void info_build(const struct call *call, const struct request *part, Blkd__Request *message,
                       union call_body *body)
{
    (void)part;
    blkd__get_info__init(&body->get_info);
    body->get_info.session = call->device->session;
    message->op_case = BLKD__REQUEST__OP_GET_INFO;
    message->get_info = &body->get_info;
}

static int info_reply(struct call *call, const Blkd__Reply *reply)
{
    if (reply->body_case != BLKD__REPLY__BODY_INFO)
        return -EPROTO;
    info_from_wire(reply->info, call->ret);
    return 0;
}

static void info_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "asking about %s", call->device->path);
}

static const struct operation info_operation = {
    .build = info_build,
    .on_reply = info_reply,
    .describe = info_describe,
};

/* ---- config ---- */

static void config_build(const struct call *call, const struct request *part,
                         Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__get_config__init(&body->get_config);
    body->get_config.session = call->device->session;
    message->op_case = BLKD__REQUEST__OP_GET_CONFIG;
    message->get_config = &body->get_config;
}

static int config_reply(struct call *call, const Blkd__Reply *reply)
{
    struct blkd_config *config;

    if (reply->body_case != BLKD__REPLY__BODY_CONFIG)
        return -EPROTO;
    config = config_from_wire(reply->config);
    if (config == NULL)
        return -ENOMEM;
    *(struct blkd_config **)call->ret = config;
    return 0;
}

static void config_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "asking for the configuration of %s", call->device->path);
}

static const struct operation config_operation = {
    .build = config_build,
    .on_reply = config_reply,
    .describe = config_describe,
};

static int device_ask(struct blkd_device *device, const struct operation *operation, void *ret,
                      struct call_mode mode)
{
    struct call *call;
    int r;

    if (device == NULL || ret == NULL)
        return error_report(-EINVAL, "asking about a device without %s",
                            device == NULL ? "a device" : "a place for the answer");
    r = call_begin(device->connection, device, operation, mode, &call);
    if (r < 0)
        return r;
    call->ret = ret;
    return call_run(call);
}

int blkd_get_info(struct blkd_device *device, struct blkd_info *ret_info)
{
    return device_ask(device, &info_operation, ret_info, CALL_WAITS);
}

int blkd_get_info_async(struct blkd_device *device, struct blkd_info *ret_info,
                        blkd_callback *callback, void *user_data)
{
    return device_ask(device, &info_operation, ret_info, CALL_BACK(callback, user_data));
}

int blkd_get_config(struct blkd_device *device, struct blkd_config **ret_config)
{
    return device_ask(device, &config_operation, ret_config, CALL_WAITS);
}

int blkd_get_config_async(struct blkd_device *device, struct blkd_config **ret_config,
                          blkd_callback *callback, void *user_data)
{
    return device_ask(device, &config_operation, ret_config, CALL_BACK(callback, user_data));
}
