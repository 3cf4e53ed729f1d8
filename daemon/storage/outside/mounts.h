/* SPDX-License-Identifier: MIT */
/*
 * What is mounted and what is swapped to, as far as this process and process 1 see it. Nothing is
 * asked of the file systems themselves.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_MOUNTS_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_MOUNTS_H

#include "daemon/storage/outside/outside.h"
#include <stdbool.h>
#include <stdint.h>

struct outside_mount {
    uint64_t dev; /* st_dev of its files */
    bool read_write;
    char type[32];
    char point[OUTSIDE_DETAIL_MAX];
    char source[128]; /* what was mounted, as mount(8) was told */
};

/* Calls `found` for each mount seen by this process and by process 1, until it returns false. 0 or
 * a negative errno. */
int mounts_each(bool (*found)(void *context, const struct outside_mount *mount), void *context);
/* Whether the mount is of this block device. */
bool mounts_is_of(const struct outside_mount *mount, const struct device_identity *identity);
/* The mount that a path is on: the one with the longest mount point. */
bool mounts_find(const char *path, struct outside_mount *ret_mount);
/* Calls `found` with the path of each swap area, until it returns false. 0 or a negative errno. */
int mounts_each_swap(bool (*found)(void *context, const char *path), void *context);

#endif
