/* SPDX-License-Identifier: MIT */
/* How the daemon starts a thread, so that signals and names are right. What such a thread starts
 * inherits both. */
#ifndef BLKD_DAEMON_BASE_THREAD_H
#define BLKD_DAEMON_BASE_THREAD_H

#include <pthread.h>

enum { THREAD_NAME_BYTES = 16 }; /* with its end: the kernel keeps no more */

/* Starts a thread that leaves the signals to the main thread: it blocks all of them but SIGBUS,
 * which is its own fault (sigbus.h); so do the threads that it starts. `name`: less than
 * THREAD_NAME_BYTES characters. 0 or a negative errno. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *user_data);

#endif
