/* SPDX-License-Identifier: MIT */
/*
 * Callbacks: where they run, and how the program's event loop hears that there are some to run.
 */
#ifndef BLKD_CLIENT_LIB_CORE_DISPATCH_H
#define BLKD_CLIENT_LIB_CORE_DISPATCH_H

#include <stdbool.h>

struct blkd;

/* Whether the calling thread is inside a callback of this connection. */
bool dispatch_inside(const struct blkd *connection);

/* Whether callbacks wait to be run. Mutex held. */
bool dispatch_pending(const struct blkd *connection);

/* Something was queued by another thread: makes the pollable descriptor readable and wakes threads
 * that wait in blkd_dispatch. Mutex held. */
void dispatch_announce(struct blkd *connection);

/* Runs what waits to be run; returns how many callbacks. Mutex held, given up meanwhile. */
int dispatch_run(struct blkd *connection);

#endif
