/* SPDX-License-Identifier: MIT */
/*
 * Shared memory that goes away under the hand that touches it. A client can punch the pages out of
 * what it shares with the daemon; the kernel then finds a new page at the next touch, or, where
 * memory is not overcommitted (vm.overcommit_memory=2) and none is left, raises SIGBUS. That must
 * not end the daemon: here another page takes the place, one for all such places, and the area is
 * lost. Its owner is to stop using it: what it reads there means nothing.
 *
 * A SIGBUS anywhere else, or of broken hardware, ends the process as ever. It reaches a thread
 * only if that does not block it.
 */
#ifndef BLKD_DAEMON_BASE_SIGBUS_H
#define BLKD_DAEMON_BASE_SIGBUS_H

#include <stdbool.h>
#include <stddef.h>

struct sigbus_area;

/* Before other threads are started; once. 0 or a negative errno. */
int sigbus_init(void);

/* From now on the mapping (whole pages) may lose its pages. NULL: no memory. From any thread. */
struct sigbus_area *sigbus_watch(void *base, size_t size_bytes);

/* Before it is unmapped; no thread touches it any more. Takes NULL; returns NULL. */
struct sigbus_area *sigbus_unwatch(struct sigbus_area *area);

/* Whether a touch has failed in it. */
bool sigbus_is_lost(const struct sigbus_area *area);

/* How often a touch has failed anywhere: cheap to compare with what it was. */
unsigned int sigbus_losses(void);

#endif
