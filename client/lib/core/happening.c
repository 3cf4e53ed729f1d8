/* SPDX-License-Identifier: MIT */
/* See happening.h. */
#include "client/lib/core/happening.h"

#include <stdlib.h>
#include <string.h>

#include "client/lib/base/texts.h"
#include "common/status.h"

_Static_assert((int)BLKD_HAPPENING_SESSION_OPENED ==
                       (int)BLKD__HAPPENING__WHAT__WHAT_SESSION_OPENED &&
                   (int)BLKD_HAPPENING_RESIZED == (int)BLKD__HAPPENING__WHAT__WHAT_RESIZED &&
                   (int)BLKD_HAPPENING_DEVICE_CLOSED ==
                       (int)BLKD__HAPPENING__WHAT__WHAT_DEVICE_CLOSED,
               "enum blkd_happening_what is the wire's Happening.What");

/* An event, what it points to, and the texts that that points to. */
struct happening_event {
    struct event event; /* first: what is queued and freed */
    struct blkd_happening happening;
    char texts[];
};

static struct blkd_happening happening_from_wire(const Blkd__Happening *from, char **position)
{
    return (struct blkd_happening){
        .what = (enum blkd_happening_what)from->what,
        .device_number = from->device,
        .session_number = from->session,
        .path = texts_put(position, from->path.data, from->path.len),
        .unix_ms = from->unix_ms,
        .pid = from->pid,
        .uid = from->uid,
        .command = texts_put(position, from->command, strlen(from->command)),
        .purpose = texts_put(position, from->purpose, strlen(from->purpose)),
        .mode = (enum blkd_lock_mode)from->mode,
        .offset_bytes = from->offset_bytes,
        .length_bytes = from->length_bytes,
        .token = from->token,
        .size_bytes = from->size_bytes,
        .generation = from->generation,
        .error = status_to_errno(from->status),
        .left_out = from->left_out,
    };
}

static struct happening_event *happening_new(const Blkd__Event *message)
{
    const Blkd__Happening *from = message->happening;
    struct happening_event *event = malloc(sizeof(*event) + from->path.len + 1 +
                                           strlen(from->command) + 1 + strlen(from->purpose) + 1);
    char *position;

    if (event == NULL)
        return NULL;
    position = event->texts;
    event->happening = happening_from_wire(from, &position);
    event->event = (struct event){
        .content = {.type = BLKD_EVENT_HAPPENING,
                    .sequence = message->sequence,
                    .happening = &event->happening},
    };
    return event;
}

void happening_received(struct events *events, const Blkd__Event *message)
{
    struct happening_event *event = NULL;

    if (events->callback == NULL)
        return;
    if (events->happenings_queued < EVENT_HAPPENINGS_MAX)
        event = happening_new(message);
    if (event == NULL) {
        events->happenings_left_out += 1 + message->happening->left_out;
        return;
    }
    event->happening.left_out += events->happenings_left_out;
    events->happenings_left_out = 0;
    event_append(events, &event->event);
}
