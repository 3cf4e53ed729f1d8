/* SPDX-License-Identifier: MIT */
/* What the files daemon/outside*.c share; for them only. */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_PARTS_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_PARTS_H

#include "common/limits.h"
#include "daemon/storage/outside/outside.h"

/* Where /sys and /proc are; tests of what this machine does not have put them elsewhere. */
extern const char *outside_sys;
extern const char *outside_proc;

/* How a device of a family shares bytes with the one asked about. */
enum outside_relation {
    OUTSIDE_SELF,
    OUTSIDE_PARTITION,    /* of it */
    OUTSIDE_LOOP_ON,      /* a loop device attached to it */
    OUTSIDE_BUILT_ON,     /* device mapper, md: made of it */
    OUTSIDE_WHOLE_DISK,   /* it is a partition of that */
    OUTSIDE_BACKING,      /* it is a loop device attached to that */
    OUTSIDE_COMPONENT,    /* it is made of that */
    OUTSIDE_LOOP_SIBLING, /* a loop device attached to what it is attached to */
};

struct outside_member {
    struct device_identity identity;
    enum outside_relation relation;
    unsigned int parent; /* the member that it was found from */
    char name[128];      /* "/dev/loop7", a path, or "" */
};

/* The device itself is the first member. */
struct outside_family {
    struct outside_member members[BACKEND_RELATED_MAX + 1];
    unsigned int count;
};

static inline bool outside_same(const struct device_identity *a, const struct device_identity *b)
{
    return a->kind == b->kind && a->dev == b->dev && a->inode == b->inode;
}

/* outside_related.c */
int outside_find_family(const struct device_identity *identity, struct outside_family *ret_family);
/* Only the device itself and what it is made of. */
void outside_find_below(const struct device_identity *identity, struct outside_family *ret_family);
/* "it", "its partition /dev/loop0p1": the member as seen from the device asked about. */
void outside_name_member(const struct outside_member *member, char *text, size_t size);

/* outside_sysfs.c */
/* The contents of a block device's attribute ("loop/backing_file"), without the newline; or -1. */
int outside_read_attribute(dev_t device, const char *name, char *text, size_t size);
/* "/dev/loop7". */
void outside_device_name(dev_t device, char *text, size_t size);
/* Calls `found` with each block device that a directory of a block device ("holders") names; NULL:
 * the device's own directory, which has the partitions. */
void outside_each_device(dev_t device, const char *directory,
                         void (*found)(void *context, dev_t device), void *context);
/* Each loop device that is attached to something. */
void outside_each_loop(void (*found)(void *context, dev_t device), void *context);
bool outside_is_partition(dev_t device);
/* The whole disk of a partition; false if it is none. */
bool outside_find_disk(dev_t device, dev_t *ret_disk);
/* What a path leads to, without asking a file system that could hang for ever on another's behalf.
 * False if nothing. */
bool outside_identify(const char *path, struct device_identity *ret_identity);

/* outside_mounts.c */
struct outside_mount {
    uint64_t dev;
    bool read_write;
    char type[32];
    char point[OUTSIDE_DETAIL_MAX];
    char source[128];
};

/* Calls `found` for each mount seen by this process and by process 1, until it returns false. 0 or
 * a negative errno. */
int outside_each_mount(bool (*found)(void *context, const struct outside_mount *mount),
                       void *context);
/* Whether the mount is of this block device. */
bool outside_is_mount_of(const struct outside_mount *mount, const struct device_identity *identity);
/* The mount that a path is on: the one with the longest mount point. */
bool outside_find_mount(const char *path, struct outside_mount *ret_mount);
/* Each swap area: its path. */
int outside_each_swap(bool (*found)(void *context, const char *path), void *context);

/* outside_locks.c: the locks on members of the family, as holders. */
int outside_find_locks(const struct outside_family *family, struct outside_holders *holders);

/* holders.c */
/* Adds a holder; NULL if there is no more room. */
struct outside_holder *outside_add(struct outside_holders *holders, enum outside_kind kind,
                                   const struct outside_member *member, const char *detail);
/* Appends the holder to a list in words. */
void outside_append(char *text, size_t size, const struct outside_holder *holder);

/* uses.c */
/* One use of a member by the kernel. */
struct outside_use {
    enum outside_kind kind;
    const struct outside_member *member;
    bool exclusive;
    char what[OUTSIDE_DETAIL_MAX]; /* mount point, swap area, name of a device */
};

struct outside_uses {
    const struct outside_family *family;
    bool (*found)(void *context, const struct outside_use *use);
    void *context;
};

/* Calls `found` for each use until it returns false; mounts first, which say most to a person. */
int outside_each_use(struct outside_uses *uses);
/* Why the use is in the way, and what to do. */
void outside_say_use(const struct outside_use *use, char message[BACKEND_MESSAGE_MAX]);

#endif
