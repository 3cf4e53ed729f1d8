/* SPDX-License-Identifier: MIT */
/* See call.h. */
#include "client/lib/call/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/wait.h"
#include "client/lib/link/sender.h"
#include "client/lib/ring/rings.h"
#include "common/cleanup.h"

enum { CALL_TEXT_MAX = 512 };

void call_table_init(struct call_table *table)
{
    TAILQ_INIT(&table->active);
    TAILQ_INIT(&table->backlog);
    TAILQ_INIT(&table->ring_backlog);
    TAILQ_INIT(&table->done);
    TAILQ_INIT(&table->pool);
    table->pooled = 0;
}

static void call_deinit(struct call *call)
{
    if (call->iov_copy != call->iov_inline)
        free(call->iov_copy);
    free(call->message);
    free(call->text);
    device_free(call->opening);
    if (call->fd >= 0)
        (void)close(call->fd);
}

bool call_table_waits(const struct call_table *table)
{
    return !TAILQ_EMPTY(&table->backlog) || !TAILQ_EMPTY(&table->ring_backlog);
}

void call_table_deinit(struct call_table *table)
{
    struct call *call;

    while ((call = TAILQ_FIRST(&table->active)) != NULL) {
        TAILQ_REMOVE(&table->active, call, link);
        call_deinit(call);
        free(call);
    }
    while ((call = TAILQ_FIRST(&table->pool)) != NULL) {
        TAILQ_REMOVE(&table->pool, call, link);
        free(call);
    }
}

struct call *call_new(struct blkd *connection)
{
    struct call_table *table = &connection->calls;
    struct call *call = TAILQ_FIRST(&table->pool);

    if (call != NULL) {
        TAILQ_REMOVE(&table->pool, call, link);
        table->pooled--;
    } else {
        call = malloc(sizeof(*call));
        if (call == NULL)
            return NULL;
    }
    *call = (struct call){.connection = connection, .fd = -1};
    return call;
}

void call_release(struct call *call)
{
    struct call_table *table = &call->connection->calls;

    call_deinit(call);
    if (table->pooled >= CALL_POOL_MAX) {
        free(call);
        return;
    }
    TAILQ_INSERT_HEAD(&table->pool, call, link);
    table->pooled++;
}

int call_check(const struct blkd *connection, struct call_mode mode)
{
    if (forkguard_tripped(&connection->forkguard))
        return error_report(-ENOTCONN, "this connection to blkd was made before the process forked "
                                       "and is its parent's: connect again in the child");
    if (!mode.waits && mode.callback == NULL)
        return error_report(-EINVAL, "a call that does not wait needs a callback");
    if (mode.waits && dispatch_inside(connection))
        return error_report(-EDEADLK, "a call that waits was made inside a callback of the same "
                                      "connection: use its _async form there");
    return 0;
}

static int call_refuse(struct blkd *connection, const struct blkd_device *device)
{
    if (connection->lost)
        return error_report(-ENOTCONN, "not connected to blkd any more: %s",
                            connection->lost_reason);
    if (device != NULL && device->closing)
        return error_report(-EBADF, "%s is being closed", device->path);
    return 0;
}

/* Mutex held. */
static int call_make(struct blkd *connection, struct blkd_device *device, struct call **ret_call)
{
    struct call *call;
    int r = call_refuse(connection, device);

    if (r < 0)
        return r;
    call = call_new(connection);
    if (call == NULL)
        return error_report(-ENOMEM, "no memory for a call to blkd");
    call->device = device;
    *ret_call = call;
    return 0;
}

int call_begin(struct blkd *connection, struct blkd_device *device,
               const struct operation *operation, struct call_mode mode, struct call **ret_call)
{
    struct call *call;
    int r = call_check(connection, mode);

    if (r < 0)
        return r;
    pthread_mutex_lock(&connection->mutex);
    r = call_make(connection, device, &call);
    if (r < 0) {
        pthread_mutex_unlock(&connection->mutex);
        return r;
    }
    call->operation = operation;
    call->mode = mode;
    *ret_call = call;
    return 0;
}

int call_abandon(struct call *call, int error)
{
    struct blkd *connection = call->connection;

    call_release(call);
    pthread_mutex_unlock(&connection->mutex);
    return error;
}

void call_set_failure(struct call *call, int error, const char *detail)
{
    char subject[CALL_TEXT_MAX] = "call";
    bool detailed = detail != NULL && detail[0] != '\0';

    call->operation->describe(call, subject, sizeof(subject));
    call->result = error;
    free(call->message);
    if (asprintf(&call->message, "%s failed: %s%s%s", subject, blkd_strerror(error),
                 detailed ? ": " : "", detailed ? detail : "") < 0)
        call->message = NULL;
}

void call_tell_message(const struct call *call)
{
    if (call->result < 0)
        error_set("%s", call->message != NULL ? call->message : blkd_strerror(call->result));
}

static struct call_list *call_backlog(const struct call *call)
{
    struct call_table *table = &call->connection->calls;

    return call->by_ring ? &table->ring_backlog : &table->backlog;
}

static void call_enter_backlog(struct call *call)
{
    TAILQ_INSERT_TAIL(call_backlog(call), call, backlog_link);
    call->in_backlog = true;
}

static void call_leave_backlog(struct call *call)
{
    if (!call->in_backlog)
        return;
    TAILQ_REMOVE(call_backlog(call), call, backlog_link);
    call->in_backlog = false;
}

void call_part_started(struct call *call, bool more)
{
    call->parts_in_flight++;
    call_leave_backlog(call);
    if (more)
        call_enter_backlog(call);
}

static void call_complete(struct call *call)
{
    struct call_table *table = &call->connection->calls;

    call_leave_backlog(call);
    TAILQ_REMOVE(&table->active, call, link);
    call->state = CALL_DONE;
    if (call->operation->on_done != NULL)
        call->operation->on_done(call);
    if (call->device != NULL)
        device_call_ended(call->device, call->parked);
    if (call->waiter != NULL)
        pthread_cond_signal(&call->waiter->wake);
    if (call->mode.waits)
        return;
    if (call->mode.callback != NULL)
        TAILQ_INSERT_TAIL(&table->done, call, link);
    else
        call_release(call);
}

/* Which way the call takes: 0, or why there is none. */
static int call_choose_way(struct call *call)
{
    int way = call->operation->ring != 0 ? rings_choose(call->connection) : 0;

    call->by_ring = way > 0;
    return way < 0 ? way : 0;
}

void call_submit(struct call *call)
{
    struct blkd *connection = call->connection;
    int r = 0;

    free(TAKE_PTR(call->message));
    call->result = 0;
    call->started = false;
    call->state = CALL_ACTIVE;
    TAILQ_INSERT_TAIL(&connection->calls.active, call, link);
    if (call->device != NULL)
        device_call_began(call->device, call->parked);
    if (connection->lost) {
        r = -ENOTCONN;
        call_set_failure(call, r, connection->lost_reason);
    } else if (!call->empty) {
        r = call_choose_way(call);
        if (r < 0)
            call_set_failure(call, r, connection->rings.reason);
    }
    if (r < 0 || call->empty)
        call_complete(call);
    else
        call_enter_backlog(call);
}

void call_part_failed(struct call *call, uint64_t offset_bytes, int error, const char *detail)
{
    call_leave_backlog(call);
    if (call->result < 0 && call->failed_offset_bytes <= offset_bytes)
        return;
    call->failed_offset_bytes = offset_bytes;
    call_set_failure(call, error, detail);
}

void call_part_ended(struct call *call)
{
    call->parts_in_flight--;
    if (call->parts_in_flight == 0 && !call->in_backlog)
        call_complete(call);
}

void call_fail_all(struct call_table *table)
{
    struct call *call;

    while ((call = TAILQ_FIRST(&table->active)) != NULL) {
        call_set_failure(call, -ENOTCONN, call->connection->lost_reason);
        call_complete(call);
    }
}

/* Whether the call, which is done, goes another round. Mutex held, given up meanwhile. */
static bool call_retry(struct call *call)
{
    struct blkd *connection = call->connection;
    bool again;

    if (call->result == 0 || call->operation->retry == NULL)
        return false;
    pthread_mutex_unlock(&connection->mutex);
    again = call->operation->retry(call);
    pthread_mutex_lock(&connection->mutex);
    return again;
}

static int call_wait(struct call *call)
{
    int result;

    (void)wait_for_call(call, CLOCK_NO_DEADLINE);
    while (call_retry(call)) {
        call_submit(call);
        sender_push(call->connection);
        (void)wait_for_call(call, CLOCK_NO_DEADLINE);
    }
    call_tell_message(call);
    result = call->result;
    call_release(call);
    return result;
}

int call_run(struct call *call)
{
    struct blkd *connection = call->connection;
    bool waits = call->mode.waits;
    int result = 0;

    call_submit(call);
    if (!dispatch_inside(connection)) {
        if (waits || !connection->send_on_dispatch)
            sender_push(connection);
        if (waits)
            result = call_wait(call);
        else
            wait_leave(connection);
    }
    pthread_mutex_unlock(&connection->mutex);
    return result;
}
