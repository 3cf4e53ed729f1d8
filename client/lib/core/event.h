/* SPDX-License-Identifier: MIT */
/*
 * Events on their way from the receiver to the user's event callback. Of several events of one kind
 * about one session that were not delivered yet only the last is kept, and of happenings a bounded
 * number, so that a program that never dispatches does not gather them.
 */
#ifndef BLKD_CLIENT_LIB_CORE_EVENT_H
#define BLKD_CLIENT_LIB_CORE_EVENT_H

#include <stdint.h>
#include <sys/queue.h>

#include "client/blkd.h"
#include "proto/blkd.pb-c.h"

/* One allocation, for free(3); of a happening with its texts. */
struct event {
    STAILQ_ENTRY(event) link;
    uint64_t session; /* 0: the whole connection */
    struct blkd_event content;
};

STAILQ_HEAD(event_queue, event);

enum { EVENT_HAPPENINGS_MAX = 4096 };

/* Queues what the daemon told; an event of an unknown kind is ignored, and one for which there is
 * no memory is lost. Mutex held. */
void event_received(struct blkd *connection, const Blkd__Event *message);

/* Queues BLKD_EVENT_DISCONNECTED. Mutex held. */
void event_disconnected(struct blkd *connection, int error);

/* Takes the queue and runs the event callback for each; returns how often. Mutex held, given up
 * meanwhile. */
int event_deliver(struct blkd *connection);

/* Puts an event of its own allocation into the queue, behind the others. Mutex held. */
void event_append(struct blkd *connection, struct event *event);

/* Frees events that nobody will hear of. */
void event_queue_clear(struct event_queue *queue);

#endif
