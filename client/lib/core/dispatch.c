/* SPDX-License-Identifier: MIT */
/* See dispatch.h. */
#include "client/lib/core/dispatch.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/event.h"
#include "client/lib/core/wait.h"
#include "client/lib/link/sender.h"
#include "client/lib/ring/rings.h"

/* The connections whose callbacks the thread is inside of, innermost first. */
struct dispatch_frame {
    const struct blkd *connection;
    struct dispatch_frame *outer;
};

static _Thread_local struct dispatch_frame *dispatch_frames;

bool dispatch_inside(const struct blkd *connection)
{
    const struct dispatch_frame *frame;

    for (frame = dispatch_frames; frame != NULL; frame = frame->outer)
        if (frame->connection == connection)
            return true;
    return false;
}

bool dispatch_pending(const struct blkd *connection)
{
    return !TAILQ_EMPTY(&connection->calls.done) || !STAILQ_EMPTY(&connection->events);
}

void dispatch_announce(struct blkd *connection)
{
    struct waiter *waiter;

    if (!connection->announced) {
        connection->announced = true;
        (void)eventfd_write(connection->event_fd, 1);
    }
    TAILQ_FOREACH (waiter, &connection->waiters, link)
        if (waiter->dispatches)
            pthread_cond_signal(&waiter->wake);
    if (connection->reading && connection->reader_role == WAIT_TO_DISPATCH)
        wait_kick(connection);
}

static void dispatch_unannounce(struct blkd *connection)
{
    eventfd_t count;

    if (connection->announced)
        (void)eventfd_read(connection->event_fd, &count);
    connection->announced = false;
}

/* Runs one callback; the mutex is not held. False: the call goes another round instead. */
static bool dispatch_call(struct blkd *connection, struct call *call)
{
    if (call->result < 0 && call->operation->retry != NULL && call->operation->retry(call)) {
        pthread_mutex_lock(&connection->mutex);
        call_submit(call);
        pthread_mutex_unlock(&connection->mutex);
        return false;
    }
    call_tell_message(call);
    call->mode.callback(call->mode.user_data, call->result);
    return true;
}

/* Runs the callbacks of `batch`; mutex held, given up meanwhile. */
static int dispatch_calls(struct blkd *connection, struct call_list *batch)
{
    struct call_list called = TAILQ_HEAD_INITIALIZER(called);
    struct call *call;
    int count = 0;

    pthread_mutex_unlock(&connection->mutex);
    while ((call = TAILQ_FIRST(batch)) != NULL) {
        TAILQ_REMOVE(batch, call, link);
        if (!dispatch_call(connection, call))
            continue;
        TAILQ_INSERT_TAIL(&called, call, link);
        count++;
    }
    pthread_mutex_lock(&connection->mutex);
    while ((call = TAILQ_FIRST(&called)) != NULL) {
        TAILQ_REMOVE(&called, call, link);
        call_release(call);
    }
    return count;
}

int dispatch_run(struct blkd *connection)
{
    struct dispatch_frame frame = {connection, dispatch_frames};
    struct call_list batch = TAILQ_HEAD_INITIALIZER(batch);
    int count = 0;

    dispatch_unannounce(connection);
    TAILQ_CONCAT(&batch, &connection->calls.done, link);
    dispatch_frames = &frame;
    if (!TAILQ_EMPTY(&batch))
        count += dispatch_calls(connection, &batch);
    count += event_deliver(connection);
    dispatch_frames = frame.outer;
    return count;
}

/* Until there are callbacks to run or there is no more to wait for. A look at the socket is taken
 * in any case, if the last is not just over, so that a program that submits in every callback also
 * receives. */
static void dispatch_wait(struct blkd *connection, uint64_t deadline_ns)
{
    int r = 0;

    if (!connection->reading) {
        rings_wake(&connection->rings);
        rings_advance(connection);
    }
    if (dispatch_pending(connection)) {
        if (!connection->reading && !connection->lost && wait_socket_due(connection))
            (void)wait_step(connection, NULL, WAIT_TO_DISPATCH, 0);
        return;
    }
    while (r == 0 && !connection->lost && !dispatch_pending(connection))
        r = wait_step(connection, NULL, WAIT_TO_DISPATCH, deadline_ns);
}

int blkd_dispatch(struct blkd *connection, int timeout_ms)
{
    int r = call_check(connection, CALL_WAITS);
    int count;

    if (r < 0)
        return r;
    pthread_mutex_lock(&connection->mutex);
    sender_push(connection);
    dispatch_wait(connection, clock_deadline_ns(timeout_ms));
    wait_hand_over(connection);
    count = dispatch_run(connection);
    sender_push(connection);
    wait_leave(connection);
    if (count == 0 && connection->lost && !dispatch_pending(connection))
        r = error_report(-ENOTCONN, "not connected to blkd any more: %s", connection->lost_reason);
    pthread_mutex_unlock(&connection->mutex);
    return r < 0 ? r : count;
}
