/* SPDX-License-Identifier: MIT */
/*
 * Opening a device, always by a descriptor: one that the user has, or one that the library opens
 * itself (openpath.h); the path is then a name. The handle is made before the request, so that a
 * session once open cannot be lost for want of memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/api/config.h"
#include "client/lib/api/openpath.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/verb.h"
#include "common/cleanup.h"
#include "common/limits.h"
#include "common/range.h"
#include "common/standard.h"

static void open_build(const struct call *call, const struct request *part, Blkd__Request *message,
                       union call_body *body)
{
    const struct blkd_device *opening = call->asked.context;

    (void)part;
    blkd__open__init(&body->open.open);
    config_to_wire(&opening->config, &body->open.config);
    body->open.open.config = &body->open.config;
    body->open.open.descriptor = call->passing.asked;
    message->op_case = BLKD__REQUEST__OP_OPEN;
    message->open = &body->open.open;
}

static int open_reply(struct call *call, const Blkd__Reply *reply)
{
    struct blkd_device *device = call->asked.context;

    if (reply->body_case != BLKD__REPLY__BODY_OPEN || reply->open->info == NULL ||
        !range_is_sector_size(reply->open->info->sector_size))
        return -EPROTO;
    device->session.number = reply->open->session;
    device->session.sector_size = reply->open->info->sector_size;
    device->session.read_only = reply->open->info->read_write == 0;
    LIST_INSERT_HEAD(&device->connection->devices, device, link);
    *(struct blkd_device **)call->asked.ret = device;
    call->asked.context = NULL;
    return 0;
}

static void open_describe(const struct call *call, char *text, size_t size)
{
    const struct blkd_device *opening = call->asked.context;

    (void)snprintf(text, size, "opening %s", opening != NULL ? opening->session.path : "a device");
}

static void open_release(void *context)
{
    device_free(context);
}

static const struct operation open_operation = {
    .build = open_build,
    .on_reply = open_reply,
    .describe = open_describe,
    .release = open_release,
};

/* Takes over `fd`, also on failure. */
static int open_start(struct blkd *connection, const struct blkd_config *config, const char *path,
                      int fd, struct blkd_device **ret_device, struct call_mode mode)
{
    CLEANUP_CLOSE int passed = fd;
    struct call *call;
    int r = verb_begin(connection, NULL, &open_operation, mode, &call);

    if (r < 0)
        return r;
    call->asked.context = device_new(connection, &connection->calls, config, path);
    if (call->asked.context == NULL)
        return verb_abandon(call, error_report(-ENOMEM, "not enough memory to open %s", path));
    call->passing.asked = true;
    call->passing.fd = TAKE_FD(passed);
    call->asked.ret = ret_device;
    return verb_run(call);
}

static int open_by_path(struct blkd *connection, const struct blkd_config *config,
                        struct blkd_device **ret_device, struct call_mode mode)
{
    CLEANUP_FREE char *name = NULL;
    int r;

    if (connection == NULL || config == NULL || ret_device == NULL)
        return error_report(-EINVAL, "cannot open a device: %s is NULL",
                            connection == NULL ? "connection"
                            : config == NULL   ? "config"
                                               : "ret_device");
    r = verb_check(connection, mode);
    if (r == 0)
        r = config_check(config);
    if (r == 0)
        r = config_path_name(config->path, &name);
    if (r == 0)
        r = openpath_open(config->path, name, config->access);
    if (r < 0)
        return r;
    return open_start(connection, config, name, r, ret_device, mode);
}

/* What a passed descriptor is called: as the user says, or as the kernel knows it. */
static void open_label(const char *label, int fd, char name[static PATH_BYTES_MAX])
{
    char link[64];
    ssize_t length;

    if (label != NULL && label[0] != '\0') {
        (void)snprintf(name, PATH_BYTES_MAX, "%s", label);
        return;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, name, PATH_BYTES_MAX - 1);
    if (length > 0)
        name[length] = '\0';
    else
        (void)snprintf(name, PATH_BYTES_MAX, "descriptor %d", fd);
}

static int open_by_fd(struct blkd *connection, int fd, const struct blkd_config *config,
                      struct blkd_device **ret_device, struct call_mode mode)
{
    static const struct blkd_config defaults = {0};
    char name[PATH_BYTES_MAX];
    int copy;
    int r;

    if (connection == NULL || ret_device == NULL)
        return error_report(-EINVAL, "cannot open a device: %s is NULL",
                            connection == NULL ? "connection" : "ret_device");
    if (config == NULL)
        config = &defaults;
    r = config_check(config);
    if (r < 0)
        return r;
    /* It may be sent later than now, when the user has closed their own. */
    copy = fcntl(fd, F_DUPFD_CLOEXEC, STANDARD_COUNT);
    if (copy < 0)
        return error_report(-errno, "opening descriptor %d as a device failed: %s", fd,
                            strerrordesc_np(errno));
    open_label(config->path, fd, name);
    return open_start(connection, config, name, copy, ret_device, mode);
}

int blkd_open(struct blkd *connection, const struct blkd_config *config,
              struct blkd_device **ret_device)
{
    return open_by_path(connection, config, ret_device, CALL_WAITS);
}

int blkd_open_async(struct blkd *connection, const struct blkd_config *config,
                    struct blkd_device **ret_device, blkd_callback *callback, void *user_data)
{
    return open_by_path(connection, config, ret_device, CALL_BACK(callback, user_data));
}

int blkd_open_fd(struct blkd *connection, int fd, const struct blkd_config *config,
                 struct blkd_device **ret_device)
{
    return open_by_fd(connection, fd, config, ret_device, CALL_WAITS);
}

int blkd_open_fd_async(struct blkd *connection, int fd, const struct blkd_config *config,
                       struct blkd_device **ret_device, blkd_callback *callback, void *user_data)
{
    return open_by_fd(connection, fd, config, ret_device, CALL_BACK(callback, user_data));
}
