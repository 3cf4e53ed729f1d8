/* SPDX-License-Identifier: MIT */
/*
 * The family of a device: it and all that share bytes with it, each with the way in which it does.
 * The device itself is the first member, then comes what it is made of, then the rest. No member is
 * there twice. Of more than BACKEND_RELATED_MAX the last are left out.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_RELATED_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_RELATED_H

#include "daemon/storage/backend.h"
#include <stddef.h>

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

struct outside_family {
    struct outside_member members[BACKEND_RELATED_MAX + 1];
    unsigned int count;
};

/* 0 or a negative errno. */
int related_find_family(const struct device_identity *identity, struct outside_family *ret_family);
/* Only the device itself and what it is made of. */
void related_find_below(const struct device_identity *identity, struct outside_family *ret_family);
/* "it", "its partition /dev/loop0p1": the member as seen from the device asked about. */
void related_name_member(const struct outside_member *member, char *text, size_t size);

#endif
