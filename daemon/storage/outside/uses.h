/* SPDX-License-Identifier: MIT */
/*
 * What the kernel itself does with the members of a family: mounts, swap areas, devices on them.
 * Such a use stands against blkd's writing whoever asks for it, so none of them has a process.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_USES_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_USES_H

#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/related.h"
#include <stdbool.h>

/* One use of a member by the kernel. */
struct outside_use {
    enum outside_kind kind;
    const struct outside_member *member;
    bool exclusive;
    char what[OUTSIDE_DETAIL_MAX]; /* mount point, swap area, name of a device */
};

/* A question about all uses: the caller's, filled in before uses_each. */
struct outside_uses {
    const struct outside_family *family;
    bool (*found)(void *context, const struct outside_use *use);
    void *context;
};

/* Calls `found` for each use until it returns false; mounts first, which say most to a person. 0 or
 * a negative errno. */
int uses_each(struct outside_uses *uses);
/* A sentence: why the use is in the way, and what to do. */
void uses_say(const struct outside_use *use, char message[BACKEND_MESSAGE_MAX]);

#endif
