/* SPDX-License-Identifier: MIT */
/* A loop device of 64 MiB on the file "disk", and a place "mnt" to mount it. Needs root. */
#ifndef BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_LOOP_H
#define BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_LOOP_H

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

#endif
