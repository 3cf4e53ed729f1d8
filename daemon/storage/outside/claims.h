/* SPDX-License-Identifier: MIT */
/*
 * Who has claimed a block device (open(2) with O_EXCL; the kernel for file systems, swap, md and
 * device mapper). /proc/self/mountinfo does not show lazily unmounted file systems, those of other
 * mount namespaces, further devices of a btrfs and external journals; the kernel knows of all of
 * them, and tells who asks for a claim of their own. A claim of a partition stands against one of
 * its disk, and the other way round; two partitions do not disturb each other.
 *
 * To ask is to claim for a moment, which can make a mount(2) or another asker fail. So a device is
 * asked after only when it is opened for writing, locked, or `why` is asked; by one thread of this
 * process at a time; and a refusal is tried again for a quarter of a second.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_CLAIMS_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_CLAIMS_H

#include "daemon/storage/outside/related.h"

/*
 * The first of the family that somebody else has claimed so that the device asked about is in use,
 * or NULL. A device that cannot be opened here is passed over, and so are those that this process
 * has claimed. Can block as open(2) of a block device does.
 */
const struct outside_member *claims_find(const struct outside_family *family);

#endif
