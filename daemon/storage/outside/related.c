/* SPDX-License-Identifier: MIT */
/*
 * Which devices share bytes with one: what is built on it, all the way up (partitions, loop
 * devices, device mapper and md), and what it is made of, all the way down. From below nothing else
 * is looked at on the way up again: two partitions of a disk and two logical volumes of a group
 * share nothing. The exception are loop devices on one file, which do.
 */
#include "daemon/storage/outside/related.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/devprobe.h"
#include "common/limits.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/mounts.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/sysfs.h"

struct related_loop {
    dev_t loop;
    struct device_identity backing;
};

struct related_walk {
    struct outside_family *family;
    unsigned int from; /* the member that is being looked at */
    enum outside_relation relation;
    struct related_loop *loops; /* all that are attached */
    size_t loop_count;
    int error;
};

static void cleanup_walk(const struct related_walk *walk)
{
    free(walk->loops);
}

static bool related_is_below(enum outside_relation relation)
{
    return relation == OUTSIDE_WHOLE_DISK || relation == OUTSIDE_BACKING ||
           relation == OUTSIDE_COMPONENT;
}

static bool related_is_known(const struct outside_family *family,
                             const struct device_identity *identity)
{
    for (unsigned int i = 0; i < family->count; i++) {
        if (identity_same(&family->members[i].identity, identity))
            return true;
    }
    return false;
}

static void related_add(struct related_walk *walk, const struct device_identity *identity,
                        const char *name)
{
    struct outside_family *family = walk->family;
    if (related_is_known(family, identity))
        return;
    if (family->count == BACKEND_RELATED_MAX + 1)
        return;
    struct outside_member *member = &family->members[family->count++];
    *member = (struct outside_member){
        .identity = *identity, .relation = walk->relation, .parent = walk->from};
    if (identity->kind == DEVICE_BLOCK)
        sysfs_name_device(identity->dev, member->name, sizeof(member->name));
    else
        (void)snprintf(member->name, sizeof(member->name), "%s", name);
}

static void on_related_device(void *context, dev_t device)
{
    const struct device_identity identity = {.kind = DEVICE_BLOCK, .dev = device};
    related_add(context, &identity, NULL);
}

/* ---- loop devices ---- */

/* Deleted files and those of other namespaces have no path here: then the driver is asked, which
 * asks the file system. Opening without O_NONBLOCK could look for a partition table. */
static bool related_ask_loop(dev_t loop, struct device_identity *ret_backing)
{
    char name[64];
    struct loop_info64 info;
    sysfs_name_device(loop, name, sizeof(name));
    CLEANUP_CLOSE int fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return false;
    if (info.lo_rdevice != 0)
        *ret_backing = (struct device_identity){.kind = DEVICE_BLOCK, .dev = info.lo_rdevice};
    else
        *ret_backing = (struct device_identity){
            .kind = DEVICE_FILE, .dev = info.lo_device, .inode = info.lo_inode};
    return true;
}

static bool related_find_backing(dev_t loop, struct device_identity *ret_backing, const char *path)
{
    return identity_of_path(path, ret_backing) || related_ask_loop(loop, ret_backing);
}

/* A file on a file system that can hang is asked after only if the family has files there: else the
 * devices of all would hang with it. */
static bool related_may_ask(const struct outside_family *family, const char *path)
{
    struct outside_mount mount;
    if (!mounts_find(path, &mount) || !devprobe_filesystem_is_remote(mount.type))
        return true;
    for (unsigned int i = 0; i < family->count; i++) {
        if (family->members[i].identity.kind == DEVICE_FILE &&
            family->members[i].identity.dev == mount.dev)
            return true;
    }
    return false;
}

static void on_related_loop(void *context, dev_t loop)
{
    struct related_walk *walk = context;
    char path[PATH_BYTES_MAX];
    struct related_loop found = {.loop = loop};
    if (sysfs_read_attribute(loop, "loop/backing_file", path, sizeof(path)) < 0 ||
        !related_may_ask(walk->family, path) || !related_find_backing(loop, &found.backing, path))
        return;
    struct related_loop *grown =
        reallocarray(walk->loops, walk->loop_count + 1, sizeof(*walk->loops));
    if (grown == NULL) {
        walk->error = -ENOMEM;
        return;
    }
    walk->loops = grown;
    walk->loops[walk->loop_count++] = found;
}

static void related_add_loops(struct related_walk *walk, const struct device_identity *backing)
{
    for (size_t i = 0; i < walk->loop_count; i++) {
        if (identity_same(&walk->loops[i].backing, backing))
            on_related_device(walk, walk->loops[i].loop);
    }
}

/* ---- up and down ---- */

static void related_go_down(struct related_walk *walk, const struct device_identity *identity)
{
    struct device_identity backing;
    char path[PATH_BYTES_MAX];
    dev_t disk = 0;
    if (identity->kind != DEVICE_BLOCK)
        return;
    walk->relation = OUTSIDE_WHOLE_DISK;
    if (sysfs_find_disk(identity->dev, &disk))
        on_related_device(walk, disk);
    walk->relation = OUTSIDE_COMPONENT;
    sysfs_each_device(identity->dev, "slaves", on_related_device, walk);
    walk->relation = OUTSIDE_BACKING;
    if (sysfs_read_attribute(identity->dev, "loop/backing_file", path, sizeof(path)) == 0 &&
        related_find_backing(identity->dev, &backing, path))
        related_add(walk, &backing, path);
}

static void related_go_up(struct related_walk *walk, const struct device_identity *identity)
{
    walk->relation = OUTSIDE_LOOP_ON;
    related_add_loops(walk, identity);
    if (identity->kind != DEVICE_BLOCK)
        return;
    walk->relation = OUTSIDE_PARTITION;
    sysfs_each_device(identity->dev, NULL, on_related_device, walk);
    walk->relation = OUTSIDE_BUILT_ON;
    sysfs_each_device(identity->dev, "holders", on_related_device, walk);
}

/* What lies beside it: other loop devices on what it is attached to, and what claims or is attached
 * to its whole disk. */
static void related_go_beside(struct related_walk *walk, const struct outside_member *member)
{
    if (member->relation == OUTSIDE_COMPONENT)
        return;
    walk->relation = OUTSIDE_LOOP_SIBLING;
    related_add_loops(walk, &member->identity);
    if (member->relation != OUTSIDE_WHOLE_DISK)
        return;
    walk->relation = OUTSIDE_BUILT_ON;
    sysfs_each_device(member->identity.dev, "holders", on_related_device, walk);
}

static void related_walk_below(struct related_walk *walk, const struct device_identity *identity)
{
    walk->relation = OUTSIDE_SELF;
    related_add(walk, identity, "");
    for (walk->from = 0; walk->from < walk->family->count; walk->from++)
        related_go_down(walk, &walk->family->members[walk->from].identity);
}

void related_find_below(const struct device_identity *identity, struct outside_family *ret_family)
{
    struct related_walk walk = {.family = ret_family};
    ret_family->count = 0;
    related_walk_below(&walk, identity);
}

int related_find_family(const struct device_identity *identity, struct outside_family *ret_family)
{
    CLEANUP(cleanup_walk) struct related_walk walk = {.family = ret_family};
    ret_family->count = 0;
    related_walk_below(&walk, identity);
    const unsigned int below = ret_family->count;
    sysfs_each_loop(on_related_loop, &walk);
    for (walk.from = 1; walk.from < below; walk.from++)
        related_go_beside(&walk, &ret_family->members[walk.from]);
    for (walk.from = 0; walk.from < ret_family->count; walk.from++) {
        if (!related_is_below(ret_family->members[walk.from].relation))
            related_go_up(&walk, &ret_family->members[walk.from].identity);
    }
    return walk.error;
}

void related_name_member(const struct outside_member *member, char *text, size_t size)
{
    static const char *const before[] = {
        [OUTSIDE_SELF] = "it",
        [OUTSIDE_PARTITION] = "its partition ",
        [OUTSIDE_LOOP_ON] = "its loop device ",
        [OUTSIDE_BUILT_ON] = "the device built on it ",
        [OUTSIDE_WHOLE_DISK] = "its whole disk ",
        [OUTSIDE_BACKING] = "its backing store ",
        [OUTSIDE_COMPONENT] = "its component ",
        [OUTSIDE_LOOP_SIBLING] = "the loop device on the same bytes ",
    };
    (void)snprintf(text, size, "%s%s", before[member->relation],
                   member->relation == OUTSIDE_SELF ? "" : member->name);
}

/* No partition is looked for and nothing is waited for because of the open (O_NONBLOCK), and the
 * node is the device's before it is really opened. */
static int related_open(const struct outside_member *member)
{
    struct stat status;
    char path[64];
    CLEANUP_CLOSE int looked = open(member->name, O_PATH | O_CLOEXEC);
    if (looked < 0 || fstat(looked, &status) < 0 || !S_ISBLK(status.st_mode) ||
        status.st_rdev != member->identity.dev)
        return -1;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", looked);
    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

int outside_each_cache(const struct device_identity *identity, void (*found)(void *context, int fd),
                       void *context)
{
    struct outside_family family;
    int error = related_find_family(identity, &family);
    for (unsigned int i = 1; error == 0 && i < family.count; i++) {
        if (family.members[i].identity.kind != DEVICE_BLOCK)
            continue;
        CLEANUP_CLOSE int fd = related_open(&family.members[i]);
        if (fd >= 0)
            found(context, fd);
    }
    return error;
}

int outside_find_related(const struct device_identity *identity,
                         struct device_identity related[BACKEND_RELATED_MAX], size_t *ret_count)
{
    struct outside_family family;
    int error = related_find_family(identity, &family);
    if (error < 0)
        return error;
    for (unsigned int i = 1; i < family.count; i++)
        related[i - 1] = family.members[i].identity;
    *ret_count = family.count - 1;
    return 0;
}
