/* SPDX-License-Identifier: MIT */
/*
 * Devices that share bytes (a partition and its disk, a loop device and its file): their locks
 * conflict, so what concerns the locks of one is decided with the mutexes of all of them. A flush
 * of one is a flush of all (flush.h). What one reads need not be what another has written, since
 * each has a page cache of its own: an exclusive lock puts that right (refresh.h).
 */
#ifndef BLKD_DAEMON_DEVICE_RELATIONS_H
#define BLKD_DAEMON_DEVICE_RELATIONS_H

#include <stddef.h>

#include "daemon/storage/backend.h"

struct device;

/* Embedded in a device. */
struct relations {
    /* The open devices that share bytes with it, in the order of their numbers; under the lock
     * domain's mutex. */
    struct device *devices[BACKEND_RELATED_MAX];
    unsigned int count;

    /* For refresh.h, under the device's mutex: how often its cache has come to be in doubt for
     * another reason than changes of those devices, and what relations_doubts said when it was last
     * put right. */
    uint64_t doubts;
    uint64_t settled;

    /* The identities of all that do, open or not; constant. */
    struct device_identity *identities;
    size_t identity_count;
};

/* 0 or -ENOMEM. */
int relations_init(struct relations *relations, const struct backend_info *info);
void relations_deinit(struct relations *relations);

/* Whether the device knows that it shares bytes with the other one. */
bool relations_name(const struct device *device, const struct device *other);

/* The locks of the two conflict from now on. 0, or -EDQUOT: too many relations. With the registry's
 * mutex held. */
int relations_add(struct device *device, struct device *other);
/* Ends that with all of them, when it has no locks any more. */
void relations_end(struct device *device);

/* Takes the lock domain's mutex, the device's and those of all devices that share bytes with it:
 * what the calls of lock/lock.h that are marked GATE need. */
void relations_enter(struct device *device);
void relations_leave(struct device *device);

/* Grows whenever the device's cache may have become another than the bytes that it shares. With
 * what relations_enter takes. */
uint64_t relations_doubts(const struct device *device);

#endif
