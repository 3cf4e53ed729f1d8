/* SPDX-License-Identifier: MIT */
/* A loop device of 64 MiB on the file "disk", and a place "mnt" to mount it. Needs root. */
#ifndef BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_LOOP_H
#define BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_LOOP_H

#include <linux/blkpg.h>

#include "tests/unit/daemon/storage/outside_holders.h"

static char loop_path[32];
static int loop_fd = -1;

static inline void loop_setup(void)
{
    fixture_setup();
    loop_fd = fixture_loop(fixture_file("disk", 64L * FIXTURE_MIB), LO_FLAGS_PARTSCAN, loop_path,
                           sizeof(loop_path));
    ck_assert_int_eq(mkdir(fixture_path("mnt"), 0700), 0);
}

static inline void loop_teardown(void)
{
    (void)close(loop_fd);
    fixture_teardown();
}

static inline void make_filesystem(const char *device)
{
    ck_assert_int_eq(fixture_run("mkfs.ext4 -q -F %s 4M >/dev/null 2>&1", device), 0);
}

static inline void mount_on(const char *device, const char *point)
{
    make_filesystem(device);
    ck_assert_msg(mount(device, point, "ext4", 0, NULL) == 0, "%s", strerror(errno));
}

/* Two partitions of 16 MiB, told to the kernel as partx(8) does: it need not know any table. */
static inline void make_partitions(char paths[2][48])
{
    for (int i = 0; i < 2; i++) {
        struct blkpg_partition part = {
            .start = (1 + 16L * i) * FIXTURE_MIB, .length = 16L * FIXTURE_MIB, .pno = i + 1};
        struct blkpg_ioctl_arg argument = {
            .op = BLKPG_ADD_PARTITION, .datalen = sizeof(part), .data = &part};
        ck_assert_int_eq(ioctl(loop_fd, BLKPG, &argument), 0);
        (void)snprintf(paths[i], sizeof(paths[i]), "%sp%d", loop_path, i + 1);
    }
}

#endif
