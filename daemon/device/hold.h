/* SPDX-License-Identifier: MIT */
/* What keeps a device open besides its sessions: somebody who looks at it, or writes down that it
 * has failed. */
#ifndef BLKD_DAEMON_DEVICE_HOLD_H
#define BLKD_DAEMON_DEVICE_HOLD_H

struct device;

/* Keeps the device open, whether or not sessions have it, until hold_drop. Any thread, which has a
 * session of it, or looks at it in the registry, at this moment. */
void hold_take(struct device *device);

/* When it was the last, a close that waits for it goes on. Any thread, without the mutexes of
 * registry and devices. */
void hold_drop(struct device *device);

#endif
