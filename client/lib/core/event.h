/* SPDX-License-Identifier: MIT */
/*
 * Events on their way to the program's event callback. Of several events of one kind
 * about one session that were not delivered yet only the last is kept, and of happenings a bounded
 * number, so that a program that never dispatches does not gather them.
 */
#ifndef BLKD_CLIENT_LIB_CORE_EVENT_H
#define BLKD_CLIENT_LIB_CORE_EVENT_H

#include <stdint.h>
#include <sys/queue.h>

#include "client/blkd.h"

/* One allocation, for free(3); of a happening with its texts. */
struct event {
    STAILQ_ENTRY(event) link;
    uint64_t session; /* 0: the whole connection */
    struct blkd_event content;
};

STAILQ_HEAD(event_queue, event);

enum { EVENT_HAPPENINGS_MAX = 4096 };

/* Under the connection's mutex. */
struct events {
    struct event_queue queue;
    uint32_t happenings_queued;   /* of those events */
    uint64_t happenings_left_out; /* since the last one that was queued */
    blkd_event_callback *callback;
    void *user_data;
};

void event_init(struct events *events);
/* Frees events that nobody will hear of. */
void event_deinit(struct events *events);

/* Queues an event about a session (0: the whole connection) if somebody listens. One for which
 * there is no memory is lost. */
void event_put(struct events *events, uint64_t session, const struct blkd_event *content);

/* Puts an event of its own allocation into the queue, behind the others. */
void event_append(struct events *events, struct event *event);

/* Takes the next event out of the queue, the caller's to free; NULL: there is none. */
struct event *event_take(struct events *events);

#endif
