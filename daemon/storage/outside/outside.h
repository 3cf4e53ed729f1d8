/* SPDX-License-Identifier: MIT */
/*
 * The world outside blkd: who else has a file or block device, and which other devices share bytes
 * with it, as far as /proc, /sys and the kernel's answer to a claim tell (contract L3, L4;
 * claims.h). Nothing here changes anything. Runs on helper threads; may block as /proc and /sys do,
 * and outside_check and outside_find_holders as open(2) of a block device does.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_OUTSIDE_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_OUTSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/storage/backend.h"

/* Numbers as on the wire (Blkd__HolderKind). */
enum outside_kind {
    OUTSIDE_FLOCK = 2,
    OUTSIDE_RECORD_LOCK = 3, /* fcntl(2): traditional, or of an open file description (QEMU) */
    OUTSIDE_MOUNT = 4,
    OUTSIDE_SWAP = 5,
    OUTSIDE_KERNEL = 6, /* device mapper, md: what /sys/.../holders names */
    OUTSIDE_LOOP = 7,   /* a loop device that is attached to the file or device */
    OUTSIDE_LEASE = 8,
};

enum { OUTSIDE_DETAIL_MAX = 256, OUTSIDE_HOLDERS_MAX = 64 };

struct outside_holder {
    enum outside_kind kind;
    bool exclusive; /* of a lock: for writing; a mount: read/write; else true */
    bool waits;     /* for the lock, does not hold it */
    pid_t pid;      /* 0: unknown, or the kernel */
    uid_t uid;
    char command[64];
    /* Mount point; name of the device that holds it ("/dev/dm-0"); "bytes 100-103". Of a holder of
     * something that shares bytes with the device: that, too. */
    char detail[OUTSIDE_DETAIL_MAX];
    bool via; /* it holds another device that shares bytes with this one */
};

struct outside_holders {
    struct outside_holder *list;
    size_t count;
    bool more; /* than OUTSIDE_HOLDERS_MAX */
};

/*
 * All who hold the device (identity) or something that shares bytes with it, except this process
 * itself. Holders of OFD and flock locks have no pid in /proc/locks that can be trusted after a
 * fork: they are looked for in /proc/PID/fdinfo. 0 or a negative errno.
 */
int outside_find_holders(const struct device_identity *identity,
                         struct outside_holders *ret_holders);
void outside_holders_free(struct outside_holders *holders);

/*
 * The first reason why the device may not be written to (`lock` false) or locked (true) at all: it,
 * or something that shares bytes with it, is mounted, used as swap, held by a kernel device, or
 * claimed by whomever; for a lock also: a loop device is attached to it. A mount by which the file
 * itself is reached is none. Returns 0 or -EBUSY with a sentence for a person ("it is mounted at
 * /mnt: unmount it, or open it read-only without a lock"); another negative errno if that cannot be
 * found out, with a sentence too. *ret_refusal is set with -EBUSY.
 */
int outside_check(const struct device_identity *identity, bool lock,
                  char message[BACKEND_MESSAGE_MAX], enum refusal *ret_refusal);

/*
 * Whether another program's lock on something that shares bytes with the device stands against a
 * lock of the device, an exclusive or a shared one. (Locks on the device itself are met when it is
 * locked.) Returns 0, -EBUSY with a sentence, or another negative errno with one.
 */
int outside_check_locks(const struct device_identity *identity, bool exclusive,
                        char message[BACKEND_MESSAGE_MAX]);

/*
 * The identities of what shares bytes with the device: partitions and their disk, a loop device and
 * its backing file or device, device mapper and md devices and what they are made of, up and down,
 * transitively, without the device itself. Two partitions of one disk do not share bytes, nor do
 * two logical volumes. At most BACKEND_RELATED_MAX; *ret_count how many. What the device is made of
 * comes first, so that of two devices at least one has the other in its list, however long they
 * are. 0 or a negative errno.
 */
int outside_find_related(const struct device_identity *identity,
                         struct device_identity related[BACKEND_RELATED_MAX], size_t *ret_count);

/* Opens, reads nothing from, and closes again each block device that shares bytes with the device,
 * with `found` between. What cannot be opened is passed over. Can block as open(2) of a block
 * device does. 0 or a negative errno. */
int outside_each_cache(const struct device_identity *identity, void (*found)(void *context, int fd),
                       void *context);

/* This process is about to claim the block device with O_EXCL, and does not any more: its own claim
 * is not somebody else's, and between the two calls nobody of this process asks after the device in
 * a way that a claim would fail by. outside_claim_begin can wait for who does. 0 or -ENOMEM. */
int outside_claim_begin(dev_t device);
void outside_claim_end(dev_t device);

/* One sentence about the holders of locks that make a lock attempt fail: "flock by pid 123 (uid 0,
 * mirage)", or "/proc does not show the holder". */
void outside_describe(const struct device_identity *identity, char *text, size_t size);

/* A process that has the file or block device mapped, in words: "pid 123 (qemu)". False: /proc
 * shows none. Can block as a stat of what any program has mapped does. */
bool outside_find_mapper(const struct device_identity *identity, char *text, size_t size);

/* Whether the bytes are in memory at last (tmpfs, ramfs, zram, a RAM disk, loop devices on them),
 * so that no sync saves them from a power cut. */
bool outside_is_volatile(int fd, const struct device_identity *identity);

/* The key by which the device is remembered across restarts (contract L8); `fd` is a descriptor of
 * it, with O_PATH or without. Empty if it has none. Can block as open(2) and ioctl(2) of a file do.
 */
void outside_key(int fd, const struct device_identity *identity, struct backend_key *ret_key);

/* What lies where the device is. Empty where the key can be no other's: of block devices, and where
 * the file system lies on none. Can block as outside_key does. */
void outside_place(const struct device_identity *identity, struct backend_place *ret_place);

/* Whether two places differ for certain. Disk sequence numbers say nothing across a boot. */
bool outside_places_differ(const char *one, const char *other);

#endif
