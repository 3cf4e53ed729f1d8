/* SPDX-License-Identifier: MIT */
/* See event.h. */
#include "client/lib/core/event.h"

#include <stdlib.h>

void event_init(struct events *events)
{
    *events = (struct events){0};
    STAILQ_INIT(&events->queue);
}

void event_deinit(struct events *events)
{
    struct event *event;

    while ((event = event_take(events)) != NULL)
        free(event);
}

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

void event_put(struct events *events, uint64_t session, const struct blkd_event *content)
{
    struct event *event;

    if (events->callback == NULL)
        return;
    event = event_place(&events->queue, content->type, session);
    if (event == NULL)
        return;
    event->session = session;
    event->content = *content;
}

void event_append(struct events *events, struct event *event)
{
    STAILQ_INSERT_TAIL(&events->queue, event, link);
    if (event->content.happening != NULL)
        events->happenings_queued++;
}

struct event *event_take(struct events *events)
{
    struct event *event = STAILQ_FIRST(&events->queue);

    if (event == NULL)
        return NULL;
    STAILQ_REMOVE_HEAD(&events->queue, link);
    if (event->content.happening != NULL)
        events->happenings_queued--;
    return event;
}
