/* SPDX-License-Identifier: MIT */
/*
 * What the daemon tells unasked, from the wire's message to the queue of events.
 */
#ifndef BLKD_CLIENT_LIB_CORE_NOTICE_H
#define BLKD_CLIENT_LIB_CORE_NOTICE_H

#include "client/lib/core/device.h"
#include "client/lib/core/event.h"
#include "proto/blkd.pb-c.h"

/* Queues what the daemon told if somebody listens; an event of an unknown kind is ignored, and one
 * for which there is no memory is lost. Mutex held. */
void notice_received(struct events *events, const struct device_list *devices,
                     const Blkd__Event *message);

#endif
