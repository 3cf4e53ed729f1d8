/* SPDX-License-Identifier: MIT */
/* See event.h. */
#include "client/lib/core/event.h"

#include <stdbool.h>
#include <stdlib.h>

#include "client/lib/core/connection.h"
#include "client/lib/core/device.h"
#include "client/lib/core/happening.h"
#include "common/status.h"

/* The queued event that a new one of its kind and session takes the place of, or a new one; NULL:
 * no memory. */
static struct event *event_place(struct event_queue *queue, enum blkd_event_type type,
                                 uint64_t session)
{
    struct event *event;

    STAILQ_FOREACH (event, queue, link)
        if (event->content.type == type && event->session == session)
            return event;
    event = calloc(1, sizeof(*event));
    if (event != NULL)
        STAILQ_INSERT_TAIL(queue, event, link);
    return event;
}

static void event_put(struct blkd *connection, uint64_t session, const struct blkd_event *content)
{
    struct event *event;

    if (connection->event_callback == NULL)
        return;
    event = event_place(&connection->events, content->type, session);
    if (event == NULL)
        return;
    event->session = session;
    event->content = *content;
}

void event_append(struct blkd *connection, struct event *event)
{
    STAILQ_INSERT_TAIL(&connection->events, event, link);
}

/* In sectors of its device. False: that is not open any more, nobody wants to know. */
static bool event_fill_grant(struct blkd *connection, uint64_t session,
                             const Blkd__LockGranted *granted, struct blkd_event *content)
{
    const struct blkd_device *device = device_find(connection, session);

    if (device == NULL)
        return false;
    content->type = BLKD_EVENT_LOCK_GRANTED;
    content->lock_mode = (enum blkd_lock_mode)granted->mode;
    content->token = granted->token;
    content->first_sector = granted->offset_bytes / device->sector_size;
    content->count_sectors = granted->length_bytes / device->sector_size;
    return true;
}

void event_received(struct blkd *connection, const Blkd__Event *message)
{
    struct blkd_event content = {.sequence = message->sequence};

    switch (message->what_case) {
    case BLKD__EVENT__WHAT_RESIZED:
        content.type = BLKD_EVENT_RESIZED;
        content.size_sectors = message->resized->size_sectors;
        content.generation = message->resized->generation;
        break;
    case BLKD__EVENT__WHAT_SHUTTING_DOWN:
        content.type = BLKD_EVENT_SHUTTING_DOWN;
        break;
    case BLKD__EVENT__WHAT_SYNC_FAILED:
        content.type = BLKD_EVENT_SYNC_FAILED;
        content.error = status_to_errno(message->sync_failed->status);
        break;
    case BLKD__EVENT__WHAT_LOCK_GRANTED:
        if (!event_fill_grant(connection, message->session, message->lock_granted, &content))
            return;
        break;
    case BLKD__EVENT__WHAT_LOCK_LOST:
        content.type = BLKD_EVENT_LOCK_LOST;
        content.lost_reason = (enum blkd_lost_reason)message->lock_lost->reason;
        content.lost_locks = message->lock_lost->locks;
        break;
    case BLKD__EVENT__WHAT_EVICTED:
        content.type = BLKD_EVENT_EVICTED;
        break;
    case BLKD__EVENT__WHAT_HAPPENING:
        happening_received(connection, message);
        return;
    default:
        return;
    }
    event_put(connection, message->session, &content);
}

void event_disconnected(struct blkd *connection, int error)
{
    const struct blkd_event content = {.type = BLKD_EVENT_DISCONNECTED, .error = error};

    event_put(connection, 0, &content);
}

/* Fills in the device. False: it is closed, nobody wants to know. */
static bool event_resolve(struct blkd *connection, struct event *event)
{
    if (event->session == 0)
        return true;
    event->content.device = device_find(connection, event->session);
    return event->content.device != NULL;
}

int event_deliver(struct blkd *connection)
{
    struct event *event;
    int count = 0;

    while ((event = STAILQ_FIRST(&connection->events)) != NULL) {
        blkd_event_callback *callback = connection->event_callback;
        void *user_data = connection->event_user_data;
        bool wanted = callback != NULL && event_resolve(connection, event);

        STAILQ_REMOVE_HEAD(&connection->events, link);
        if (event->content.happening != NULL)
            connection->happenings_queued--;
        if (wanted) {
            pthread_mutex_unlock(&connection->mutex);
            callback(user_data, &event->content);
            pthread_mutex_lock(&connection->mutex);
            count++;
        }
        free(event);
    }
    return count;
}

void event_queue_clear(struct event_queue *queue)
{
    struct event *event;

    while ((event = STAILQ_FIRST(queue)) != NULL) {
        STAILQ_REMOVE_HEAD(queue, link);
        free(event);
    }
}
