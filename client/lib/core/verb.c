/* SPDX-License-Identifier: MIT */
/* See verb.h. */
#include "client/lib/core/verb.h"

#include <errno.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/traffic.h"
#include "client/lib/core/wait.h"

int verb_check(const struct blkd *connection, struct call_mode mode)
{
    if (forkguard_tripped(&connection->forkguard))
        return error_report(-ENOTCONN, "this connection to blkd was made before the process "
                                       "forked: connect again in the child process");
    if (!mode.waits && mode.callback == NULL)
        return error_report(-EINVAL, "an asynchronous call needs a callback");
    if (mode.waits && dispatch_inside(connection))
        return error_report(-EDEADLK, "a blocking call inside a callback of the same connection "
                                      "would deadlock: use its _async form");
    return 0;
}

static int verb_refuse(struct blkd *connection, const struct blkd_device *device)
{
    if (connection_lost(connection))
        return error_report(-ENOTCONN, "not connected to blkd any more: %s",
                            connection->calls.lost_reason);
    if (device != NULL && device->closing.asked)
        return error_report(-EBADF, "%s is being closed", device->session.path);
    return 0;
}

/* Mutex held. */
static int verb_make(struct blkd *connection, struct blkd_device *device, struct call **ret_call)
{
    struct call *call;
    int r = verb_refuse(connection, device);

    if (r < 0)
        return r;
    call = call_new(&connection->calls);
    if (call == NULL)
        return error_report(-ENOMEM, "not enough memory for a call to blkd");
    if (device != NULL)
        call->session = &device->session;
    *ret_call = call;
    return 0;
}

int verb_begin(struct blkd *connection, struct blkd_device *device,
               const struct operation *operation, struct call_mode mode, struct call **ret_call)
{
    struct call *call;
    int r = verb_check(connection, mode);

    if (r < 0)
        return r;
    pthread_mutex_lock(&connection->mutex);
    r = verb_make(connection, device, &call);
    if (r < 0) {
        pthread_mutex_unlock(&connection->mutex);
        return r;
    }
    call->operation = operation;
    call->mode = mode;
    *ret_call = call;
    return 0;
}

int verb_abandon(struct call *call, int error)
{
    struct blkd *connection = connection_of(call);

    call_release(call);
    pthread_mutex_unlock(&connection->mutex);
    return error;
}

static void verb_submit(struct blkd *connection, struct call *call)
{
    struct rings *rings = &connection->rings;
    int way = 0;

    if (call->operation->ring != 0 && !call->range.empty && !connection_lost(connection))
        way = rings_choose(rings);
    call->progress.by_ring = way > 0;
    if (way < 0)
        call_refuse(call, way, rings->setup.reason);
    else
        call_submit(call);
}

/* Whether the call, which is done, goes another round. Mutex held, given up meanwhile. */
static bool verb_retry(struct call *call)
{
    struct blkd *connection = connection_of(call);
    bool again;

    if (call->result.error == 0 || call->operation->retry == NULL)
        return false;
    pthread_mutex_unlock(&connection->mutex);
    again = call->operation->retry(call);
    pthread_mutex_lock(&connection->mutex);
    return again;
}

static int verb_wait(struct blkd *connection, struct call *call)
{
    int result;

    (void)wait_for_call(connection, call, CLOCK_NO_DEADLINE);
    while (verb_retry(call)) {
        verb_submit(connection, call);
        traffic_push(connection);
        (void)wait_for_call(connection, call, CLOCK_NO_DEADLINE);
    }
    call_tell_message(call);
    result = call->result.error;
    call_release(call);
    return result;
}

int verb_run(struct call *call)
{
    struct blkd *connection = connection_of(call);
    bool waits = call->mode.waits;
    int result = 0;

    verb_submit(connection, call);
    if (!dispatch_inside(connection)) {
        if (waits || !connection->send_on_dispatch)
            traffic_push(connection);
        if (waits)
            result = verb_wait(connection, call);
        else
            wait_leave(connection);
    }
    pthread_mutex_unlock(&connection->mutex);
    return result;
}
