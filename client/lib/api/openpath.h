/* SPDX-License-Identifier: MIT */
/*
 * What a path means, it means here: it is resolved in the program, with its root, mounts, working
 * directory and rights, and the daemon gets a descriptor. What is there is looked at before it is
 * opened, so that no FIFO, tape or watchdog ever is. No descriptor of these lands on 0, 1 or 2.
 *
 * Each returns a descriptor, or a negative errno with the thread's message, in which the path is
 * called `name`.
 */
#ifndef BLKD_CLIENT_LIB_API_OPENPATH_H
#define BLKD_CLIENT_LIB_API_OPENPATH_H

#include "client/blkd.h"

/* BLKD_ACCESS_AUTO: for reading only, where the program may not write. */
int openpath_open(const char *path, const char *name, enum blkd_access access);

/* For asking about it only (O_PATH): nothing is opened, no right to read is needed. */
int openpath_locate(const char *path, const char *name);

#endif
