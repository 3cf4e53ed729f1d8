/* SPDX-License-Identifier: MIT */
/*
 * What a watcher is told (blkd_watch), from the wire's message to the event queue. Each is an event
 * of its own: happenings do not take each other's place, but only so many wait; the next one that
 * is queued tells how many were left out.
 */
#ifndef BLKD_CLIENT_LIB_CORE_HAPPENING_H
#define BLKD_CLIENT_LIB_CORE_HAPPENING_H

#include "client/lib/core/event.h"
#include "proto/blkd.pb-c.h"

/* Queues it if somebody listens. Mutex held. */
void happening_received(struct events *events, const Blkd__Event *message);

#endif
