/* SPDX-License-Identifier: MIT */
/*
 * What the daemon may do as root, and must not lend to those whose bytes it writes (contract L9):
 *
 *   - to keep a file's set-user-id bits when it is written to (CAP_FSETID), and to go beyond disk
 *     quotas and limits (CAP_SYS_RESOURCE): given up by the whole process;
 *   - to use the blocks that a file system reserves for root: ext4 asks for the uid that is used
 *     for file systems (setfsuid(2)), so whatever changes a device's bytes is done with another
 *     one. Descriptors that are open stay usable; only opening needs root's.
 */
#ifndef BLKD_DAEMON_BASE_PRIVILEGES_H
#define BLKD_DAEMON_BASE_PRIVILEGES_H

#include <stdbool.h>

/* Before there are threads, after limits were raised. Without root there is nothing to give up. */
void privileges_drop(void);

/* Whether the uid for file systems can be changed (as root: with CAP_SETUID). */
bool privileges_can_lower(void);

/* This thread changes devices' bytes, and opens nothing: for good. Cheap when it is so already. */
void privileges_lend_none(void);

/* The same for a while, on a thread that does other things as well. */
void privileges_lower(void);
void privileges_restore(void);

#endif
