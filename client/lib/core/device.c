/* SPDX-License-Identifier: MIT */
/* See device.h. */
#include "client/lib/core/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"

struct blkd_device *device_new(struct blkd *connection, struct call_table *calls,
                               const struct blkd_config *config, const char *path)
{
    struct blkd_device *device = calloc(1, sizeof(*device));

    if (device == NULL)
        return NULL;
    device->connection = connection;
    device->config = *config;
    device->session.path = strdup(path != NULL ? path : "");
    device->config.path = device->session.path;
    if (config->purpose != NULL)
        device->purpose = strdup(config->purpose);
    device->config.purpose = device->purpose;
    device->closing.call = call_new(calls);
    if (device->session.path == NULL || (config->purpose != NULL && device->purpose == NULL) ||
        device->closing.call == NULL) {
        device_free(device);
        return NULL;
    }
    return device;
}

void device_free(struct blkd_device *device)
{
    if (device == NULL)
        return;
    if (device->link.le_prev != NULL)
        LIST_REMOVE(device, link);
    if (device->closing.call != NULL)
        call_release(device->closing.call);
    free(device->session.path);
    free(device->purpose);
    free(device);
}

struct blkd_device *device_find(const struct device_list *devices, uint64_t session_number)
{
    struct blkd_device *device;

    LIST_FOREACH (device, devices, link)
        if (device->session.number == session_number && !device->closing.asked)
            return device;
    return NULL;
}

/* ---- closing ---- */

static void close_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__close__init(&body->close);
    body->close.session = call->session->number;
    message->op_case = BLKD__REQUEST__OP_CLOSE;
    message->close = &body->close;
}

static void close_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "closing %s", call->session->path);
}

/* Counts itself out: what follows the end of a call must not meet a device that is gone. */
static void close_done(struct call *call)
{
    struct blkd_device *device = CONTAINER_OF(call->session, struct blkd_device, session);

    call->session = NULL;
    device->session.pending--;
    device->closing.answered = true;
    if (device->session.pending == 0)
        device_free(device);
}

static const struct operation close_operation = {
    .build = close_build,
    .describe = close_describe,
    .on_done = close_done,
};

static void device_close_advance(struct blkd_device *device)
{
    const struct session *session = &device->session;
    struct call *call = device->closing.call;

    if (call != NULL && session->pending == session->parked) {
        device->closing.call = NULL;
        call_submit(call);
    } else if (device->closing.answered && session->pending == 0) {
        device_free(device);
    }
}

struct call *device_close_start(struct blkd_device *device, struct call_mode mode)
{
    struct call *call = device->closing.call;

    call->operation = &close_operation;
    call->session = &device->session;
    call->mode = mode;
    device->closing.asked = true;
    device_close_advance(device);
    return call;
}

void device_call_ended(struct blkd_device *device)
{
    if (device->closing.asked)
        device_close_advance(device);
}
