/* SPDX-License-Identifier: MIT */
/*
 * Opening a path with the user's own rights, to pass the descriptor to a daemon that opens no paths
 * for this user.
 */
#ifndef BLKD_CLIENT_LIB_API_OPENPATH_H
#define BLKD_CLIENT_LIB_API_OPENPATH_H

#include <stdbool.h>

#include "client/blkd.h"
#include "client/lib/call/call.h"

/* A descriptor, or a negative errno. BLKD_ACCESS_AUTO: for reading only where writing is refused.
 * Does not block on a FIFO. */
int openpath_open(const char *path, enum blkd_access access);

/* Whether a refused call can be asked again, with a descriptor of `path` for the daemon to take; if
 * not even this program may open it, the call's failure says so. */
bool openpath_retry(struct call *call, const char *path, enum blkd_access access);

#endif
