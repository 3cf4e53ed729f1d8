/* SPDX-License-Identifier: MIT */
/* What concerns other sessions than one's own: watching, breaking locks, throwing out, recovering.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/lib/api/config.h"
#include "client/lib/api/openpath.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/verb.h"
#include "common/cleanup.h"
#include "common/status.h"

static void watch_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__watch__init(&body->watch);
    body->watch.stop = call->range.flags == 0;
    message->op_case = BLKD__REQUEST__OP_WATCH;
    message->watch = &body->watch;
}

static void watch_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "%s watching devices",
                   call->range.flags == 0 ? "stopping" : "starting");
}

static const struct operation watch_operation = {
    .build = watch_build,
    .describe = watch_describe,
};

static void break_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__break_lock__init(&body->break_lock);
    body->break_lock.device = call->asked.device_number;
    body->break_lock.session = call->asked.session_number;
    body->break_lock.wait_ms = call->asked.wait_ms;
    message->op_case = BLKD__REQUEST__OP_BREAK_LOCK;
    message->break_lock = &body->break_lock;
}

static int break_reply(struct call *call, const Blkd__Reply *reply)
{
    if (reply->body_case != BLKD__REPLY__BODY_BREAK_LOCK)
        return -EPROTO;
    if (call->asked.ret != NULL)
        *(uint32_t *)call->asked.ret = reply->break_lock->broken;
    return 0;
}

static void break_describe(const struct call *call, char *text, size_t size)
{
    char whose[48] = "";

    if (call->asked.session_number != 0)
        (void)snprintf(whose, sizeof(whose), " of session %" PRIu64, call->asked.session_number);
    (void)snprintf(text, size, "breaking the locks%s on device %" PRIu64, whose,
                   call->asked.device_number);
}

static const struct operation break_operation = {
    .build = break_build,
    .on_reply = break_reply,
    .describe = break_describe,
};

static void evict_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    (void)part;
    blkd__evict__init(&body->evict);
    body->evict.session = call->asked.session_number;
    message->op_case = BLKD__REQUEST__OP_EVICT;
    message->evict = &body->evict;
}

static void evict_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "evicting session %" PRIu64, call->asked.session_number);
}

static const struct operation evict_operation = {
    .build = evict_build,
    .describe = evict_describe,
};

static void recover_build(const struct call *call, const struct request *part,
                          Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__recover__init(&body->recover);
    body->recover.device = call->asked.device_number;
    body->recover.descriptor = call->passing.asked;
    if (call->asked.text != NULL)
        body->recover.path =
            (ProtobufCBinaryData){strlen(call->asked.text), (uint8_t *)call->asked.text};
    message->op_case = BLKD__REQUEST__OP_RECOVER;
    message->recover = &body->recover;
}

static int recover_reply(struct call *call, const Blkd__Reply *reply)
{
    if (reply->body_case != BLKD__REPLY__BODY_RECOVER)
        return -EPROTO;
    if (call->asked.ret != NULL)
        *(struct blkd_recovery *)call->asked.ret = (struct blkd_recovery){
            .failed = status_to_errno(reply->recover->failed),
            .failed_unix_ms = reply->recover->failed_unix_ms,
            .generation = reply->recover->generation,
        };
    return 0;
}

static void recover_describe(const struct call *call, char *text, size_t size)
{
    if (call->asked.text != NULL)
        (void)snprintf(text, size, "recovering %s", call->asked.text);
    else
        (void)snprintf(text, size, "recovering device %" PRIu64, call->asked.device_number);
}

static const struct operation recover_operation = {
    .build = recover_build,
    .on_reply = recover_reply,
    .describe = recover_describe,
};

static int admin_begin(struct blkd *connection, const struct operation *operation,
                       struct call **ret_call)
{
    if (connection == NULL)
        return error_report(-EINVAL, "connection is NULL");
    return verb_begin(connection, NULL, operation, CALL_WAITS, ret_call);
}

int blkd_watch(struct blkd *connection, bool on)
{
    struct call *call;
    int r = admin_begin(connection, &watch_operation, &call);

    if (r < 0)
        return r;
    call->range.flags = on;
    return verb_run(call);
}

int blkd_break_lock(struct blkd *connection, uint64_t device_number, uint64_t session_number,
                    int wait_ms, uint32_t *ret_broken)
{
    struct call *call;
    int r;

    if (device_number == 0)
        return error_report(-EINVAL, "cannot break locks: the device number is 0");
    if (wait_ms < BLKD_WAIT_FOREVER)
        return error_report(
            -EINVAL,
            "cannot break locks: wait_ms is %d, but must be 0 or more, or BLKD_WAIT_FOREVER",
            wait_ms);
    r = admin_begin(connection, &break_operation, &call);
    if (r < 0)
        return r;
    call->asked.device_number = device_number;
    call->asked.session_number = session_number;
    call->asked.wait_ms = wait_ms == BLKD_WAIT_FOREVER
                              ? (uint32_t)BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER
                              : (uint32_t)wait_ms;
    call->asked.ret = ret_broken;
    return verb_run(call);
}

int blkd_evict(struct blkd *connection, uint64_t session_number)
{
    struct call *call;
    int r;

    if (session_number == 0)
        return error_report(-EINVAL, "cannot evict a session: its number is 0");
    r = admin_begin(connection, &evict_operation, &call);
    if (r < 0)
        return r;
    call->asked.session_number = session_number;
    return verb_run(call);
}

int blkd_recover(struct blkd *connection, const char *path, uint64_t device_number,
                 struct blkd_recovery *ret_recovery)
{
    CLEANUP_FREE char *name = NULL;
    CLEANUP_CLOSE int fd = -1;
    struct call *call;
    int r;

    if ((path != NULL) == (device_number != 0))
        return error_report(-EINVAL,
                            "cannot recover a device: give either its path or its number, not %s",
                            path != NULL ? "both" : "neither");
    r = path != NULL ? config_path_name(path, &name) : 0;
    if (r == 0 && path != NULL)
        r = fd = openpath_open(path, name, BLKD_ACCESS_AUTO);
    if (r >= 0)
        r = admin_begin(connection, &recover_operation, &call);
    if (r != 0)
        return r;
    call->asked.text = TAKE_PTR(name);
    call->asked.device_number = device_number;
    call->asked.ret = ret_recovery;
    call->passing.asked = fd >= 0;
    call->passing.fd = TAKE_FD(fd);
    return verb_run(call);
}
