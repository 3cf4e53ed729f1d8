/* SPDX-License-Identifier: MIT */
/* See dispatch.h. */
#include "client/lib/core/dispatch.h"

#include <stdlib.h>

#include "client/lib/core/connection.h"

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
    return !TAILQ_EMPTY(&connection->done) || !STAILQ_EMPTY(&connection->events.queue);
}

void dispatch_announce(struct blkd *connection)
{
    readiness_announce(&connection->readiness);
    lead_wake_dispatchers(&connection->lead);
}

/* Runs one callback; the mutex is not held. False: the call goes another round instead. */
static bool dispatch_call(struct blkd *connection, struct call *call)
{
    if (call->result.error < 0 && call->operation->retry != NULL && call->operation->retry(call)) {
        pthread_mutex_lock(&connection->mutex);
        call_submit(call);
        pthread_mutex_unlock(&connection->mutex);
        return false;
    }
    call_tell_message(call);
    call->mode.callback(call->mode.user_data, call->result.error);
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

/* Fills in the device. False: it is closed, nobody wants to know. */
static bool dispatch_find_device(const struct blkd *connection, struct event *event)
{
    if (event->session == 0)
        return true;
    event->content.device = device_find(&connection->devices, event->session);
    return event->content.device != NULL;
}

/* Runs the event callback for each event; mutex held, given up meanwhile. */
static int dispatch_events(struct blkd *connection)
{
    struct event *event;
    int count = 0;

    while ((event = event_take(&connection->events)) != NULL) {
        blkd_event_callback *callback = connection->events.callback;
        void *user_data = connection->events.user_data;

        if (callback != NULL && dispatch_find_device(connection, event)) {
            pthread_mutex_unlock(&connection->mutex);
            callback(user_data, &event->content);
            pthread_mutex_lock(&connection->mutex);
            count++;
        }
        free(event);
    }
    return count;
}

int dispatch_run(struct blkd *connection)
{
    struct dispatch_frame frame = {connection, dispatch_frames};
    struct call_list batch = TAILQ_HEAD_INITIALIZER(batch);
    int count = 0;

    readiness_take_back(&connection->readiness);
    TAILQ_CONCAT(&batch, &connection->done, link);
    dispatch_frames = &frame;
    if (!TAILQ_EMPTY(&batch))
        count += dispatch_calls(connection, &batch);
    count += dispatch_events(connection);
    dispatch_frames = frame.outer;
    return count;
}
