/* SPDX-License-Identifier: MIT */
/*
 * Directories that look like /sys and /proc, for what this machine does not have: device mapper,
 * disks with serials.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_SYSFS_H
#define BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_SYSFS_H

#include "tests/unit/daemon/storage/outside_holders.h"

/* Everything above the last part of `path`. */
static inline void make_parents(const char *path)
{
    char parent[256];
    (void)snprintf(parent, sizeof(parent), "%s", path);
    for (char *slash = strchr(parent + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ck_assert(mkdir(parent, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

__attribute__((format(printf, 2, 3))) static inline void put(const char *path, const char *format,
                                                             ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const char *full = fixture_path(path);
    make_parents(full);
    CLEANUP_CLOSE int fd = open(full, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static inline void put_device(const char *name, unsigned int major_number,
                              unsigned int minor_number)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "sys/dev/block/%u:%u/uevent", major_number, minor_number);
    put(path, "MAJOR=%u\nDEVNAME=%s\nDEVTYPE=disk\n", major_number, name);
    (void)snprintf(path, sizeof(path), "sys/dev/block/%u:%u/dev", major_number, minor_number);
    put(path, "%u:%u\n", major_number, minor_number);
}

/* A link in `list` of the device `of`, to the device `to`. */
static inline void put_entry(const char *of, const char *list, const char *to)
{
    char path[64];
    char target[32];
    (void)snprintf(path, sizeof(path), "sys/dev/block/%s/%s/%s", of, list, to);
    (void)snprintf(target, sizeof(target), "../../%s", to);
    const char *full = fixture_path(path);
    make_parents(full);
    ck_assert_int_eq(symlink(target, full), 0);
}

/* `upper` is made of `lower`. */
static inline void put_link(const char *upper, const char *lower)
{
    put_entry(upper, "slaves", lower);
    put_entry(lower, "holders", upper);
}

static inline void fake_setup_directories(void)
{
    static char sys[128];
    static char proc[128];
    (void)snprintf(sys, sizeof(sys), "%s", fixture_path("sys"));
    (void)snprintf(proc, sizeof(proc), "%s", fixture_path("proc"));
    ck_assert_int_eq(fixture_run("mkdir -p %s/block %s/self/ns %s/1/ns", sys, proc, proc), 0);
    put("proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
    put("proc/locks", "%s", "");
    put("proc/swaps", "Filename\n");
    put("proc/sys/kernel/random/boot_id", "0f00-ba11\n");
    outside_sys = sys;
    outside_proc = proc;
}

static inline void fake_setup(void)
{
    fixture_setup();
    fake_setup_directories();
}

static inline struct device_identity block(unsigned int major_number, unsigned int minor_number)
{
    return (struct device_identity){.kind = DEVICE_BLOCK,
                                    .dev = makedev(major_number, minor_number)};
}

/* Two volumes on one disk, and a third on the first. */
static inline void put_volumes(void)
{
    put_device("sdz", 8, 400);
    put_device("dm-0", 253, 0);
    put_device("dm-1", 253, 1);
    put_device("dm-2", 253, 2);
    put_link("253:0", "8:400");
    put_link("253:1", "8:400");
    put_link("253:2", "253:0");
}

static inline bool fake_related(const struct device_identity *identity,
                                struct device_identity other)
{
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t count = 0;
    ck_assert_int_eq(outside_find_related(identity, related, &count), 0);
    for (size_t i = 0; i < count; i++) {
        if (identity_same(&related[i], &other))
            return true;
    }
    return false;
}

#endif
