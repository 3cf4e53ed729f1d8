/* SPDX-License-Identifier: MIT */
/*
 * Block devices as /sys shows them: their names, partitions, disks, holders, loop devices. No
 * device is opened, so a hung one cannot hold anybody up here. What cannot be read is as if it were
 * not there.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_SYSFS_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The contents of a block device's attribute ("loop/backing_file"), without the newline; or -1. */
int sysfs_read_attribute(dev_t device, const char *name, char *text, size_t size);
/* "/dev/loop7". */
void sysfs_name_device(dev_t device, char *text, size_t size);
/* Calls `found` with each block device that a directory of a block device ("holders") names; NULL:
 * the device's own directory, which has the partitions. */
void sysfs_each_device(dev_t device, const char *directory,
                       void (*found)(void *context, dev_t device), void *context);
/* Each loop device that is attached to something. */
void sysfs_each_loop(void (*found)(void *context, dev_t device), void *context);
/* The whole disk of a partition; false if it is none. */
bool sysfs_find_disk(dev_t device, dev_t *ret_disk);

#endif
