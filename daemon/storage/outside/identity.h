/* SPDX-License-Identifier: MIT */
/*
 * What tells one file or block device from all others, whatever it is called: a block device has
 * its number, a file its inode and the number of its file system.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_IDENTITY_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_IDENTITY_H

#include "daemon/storage/backend.h"
#include <stdbool.h>

static inline bool identity_same(const struct device_identity *a, const struct device_identity *b)
{
    return a->kind == b->kind && a->dev == b->dev && a->inode == b->inode;
}

/* What a path leads to, without asking a file system that could hang for ever on another's behalf.
 * False if nothing. */
bool identity_of_path(const char *path, struct device_identity *ret_identity);

#endif
