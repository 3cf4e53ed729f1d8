/* SPDX-License-Identifier: MIT */
/*
 * How a ring is set up: with the best flags that the kernel takes, and disabled at first, so that
 * an engine can be made on another thread than the one that uses it. The thread that enables the
 * ring becomes its only submitter.
 */
#ifndef BLKD_DAEMON_ENGINE_URING_RING_H
#define BLKD_DAEMON_ENGINE_URING_RING_H

#include <liburing.h>

/* The completion queue's length. */
enum { URING_RING_COMPLETIONS = 4096 };

/* Makes the ring; each completion signals event_fd. 0, or the negative errno that says why the
 * kernel does not have or not allow what an engine needs (engine_new): io_uring_enter(2) too, which
 * a sandbox can refuse by itself. */
int uring_ring_open(struct io_uring *ring, int event_fd);

/* On the thread that will use the ring, until it has succeeded. Also says how many kernel workers
 * it may have. 0 or a negative errno. */
int uring_ring_enable(struct io_uring *ring);

#endif
