/* SPDX-License-Identifier: MIT */
/*
 * Locks of other programs, as /proc tells of them: flock(2), fcntl(2) and leases. This process' own
 * are left out.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_LOCKS_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_LOCKS_H

#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/related.h"

/* Adds the locks on members of the family to the holders. 0 or a negative errno. */
int locks_find_holders(const struct outside_family *family, struct outside_holders *holders);

#endif
