/* SPDX-License-Identifier: MIT */
/* Closing a device, and what is asked about an open one; opening is in open.c. */
#include <errno.h>
#include <stdio.h>

#include "client/lib/api/config.h"
#include "client/lib/api/info.h"
#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/traffic.h"
#include "client/lib/core/verb.h"
#include "client/lib/core/wait.h"

/* ---- closing ---- */

static int device_close(struct blkd_device *device, struct call_mode mode)
{
    struct blkd *connection = device->connection;
    struct call *call = device_close_start(device, mode);
    int r = 0;

    if (!dispatch_inside(connection))
        traffic_push(connection);
    if (mode.waits) {
        (void)wait_for_call(connection, call, CLOCK_NO_DEADLINE);
        call_tell_message(call);
        r = call->result.error;
        call_release(call);
    } else if (!dispatch_inside(connection)) {
        wait_leave(connection);
    }
    return r;
}

static int device_close_once(struct blkd_device *device, struct call_mode mode)
{
    struct blkd *connection = device->connection;
    int r = 0;

    pthread_mutex_lock(&connection->mutex);
    if (device->closing.asked)
        r = error_report(-EBADF, "%s is already being closed", device->session.path);
    else
        r = device_close(device, mode);
    pthread_mutex_unlock(&connection->mutex);
    return r;
}

int blkd_close(struct blkd_device *device)
{
    struct call_mode mode = CALL_WAITS;

    if (device == NULL || forkguard_tripped(&device->connection->forkguard))
        return 0;
    if (dispatch_inside(device->connection))
        mode = CALL_BACK(NULL, NULL);
    return device_close_once(device, mode);
}

int blkd_close_async(struct blkd_device *device, blkd_callback *callback, void *user_data)
{
    struct call_mode mode = CALL_BACK(callback, user_data);

    if (device == NULL)
        return error_report(-EINVAL, "cannot close: device is NULL");
    if (forkguard_tripped(&device->connection->forkguard))
        return verb_check(device->connection, mode);
    return device_close_once(device, mode);
}

/* ---- info ---- */

static void info_build(const struct call *call, const struct request *part, Blkd__Request *message,
                       union call_body *body)
{
    (void)part;
    blkd__get_info__init(&body->get_info);
    body->get_info.session = call->session->number;
    message->op_case = BLKD__REQUEST__OP_GET_INFO;
    message->get_info = &body->get_info;
}

static int info_reply(struct call *call, const Blkd__Reply *reply)
{
    if (reply->body_case != BLKD__REPLY__BODY_INFO)
        return -EPROTO;
    info_from_wire(reply->info, call->asked.ret);
    return 0;
}

static void info_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "getting information about %s", call->session->path);
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
    body->get_config.session = call->session->number;
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
    *(struct blkd_config **)call->asked.ret = config;
    return 0;
}

static void config_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "getting the configuration of %s", call->session->path);
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
        return error_report(-EINVAL, "cannot get information about a device: %s is NULL",
                            device == NULL ? "device" : "the place for the answer");
    r = verb_begin(device->connection, device, operation, mode, &call);
    if (r < 0)
        return r;
    call->asked.ret = ret;
    return verb_run(call);
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
