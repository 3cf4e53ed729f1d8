/* SPDX-License-Identifier: MIT */
/*
 * Whether bytes survive a power cut: no, if what they are on at last is memory. A file system on a
 * loop device is as volatile as the device.
 */
#include "daemon/storage/outside/outside.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "daemon/storage/outside/mounts.h"
#include "daemon/storage/outside/related.h"

enum { VOLATILE_DEPTH = 8 }; /* file systems on files on file systems */

static bool volatile_is_memory(const struct outside_member *member)
{
    return strncmp(member->name, "/dev/ram", 8) == 0 || strncmp(member->name, "/dev/zram", 9) == 0;
}

static bool volatile_is_memory_type(const char *type)
{
    return strcmp(type, "tmpfs") == 0 || strcmp(type, "ramfs") == 0 ||
           strcmp(type, "devtmpfs") == 0;
}

/* The device below; *ret_next is the one that its backing file's file system is on, if any. */
static bool volatile_looks(const struct device_identity *identity, dev_t *ret_next)
{
    struct outside_family family;
    related_find_below(identity, &family);
    for (unsigned int i = 0; i < family.count; i++) {
        const struct outside_member *member = &family.members[i];
        struct outside_mount mount;
        if (member->identity.kind == DEVICE_BLOCK) {
            if (volatile_is_memory(member))
                return true;
            continue;
        }
        if (member->name[0] == '/' && mounts_find(member->name, &mount) &&
            volatile_is_memory_type(mount.type))
            return true;
        if (major(member->identity.dev) != 0)
            *ret_next = member->identity.dev;
    }
    return false;
}

bool outside_is_volatile(int fd, const struct device_identity *identity)
{
    struct device_identity at = *identity;
    struct statfs filesystem;
    if (identity->kind == DEVICE_FILE && fstatfs(fd, &filesystem) == 0 &&
        (filesystem.f_type == TMPFS_MAGIC || filesystem.f_type == RAMFS_MAGIC))
        return true;
    for (unsigned int i = 0; i < VOLATILE_DEPTH; i++) {
        dev_t next = 0;
        if (volatile_looks(&at, &next))
            return true;
        if (next == 0)
            return false;
        at = (struct device_identity){.kind = DEVICE_BLOCK, .dev = next};
    }
    return false;
}
