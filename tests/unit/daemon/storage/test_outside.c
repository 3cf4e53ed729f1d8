/* SPDX-License-Identifier: MIT */
/* Who else has a device: real loop devices, mounts, swap areas and partitions. */
#include <sys/swap.h>

#include "tests/unit/daemon/storage/outside_loop.h"
#include "tests/unit/daemon/storage/outside_sysfs.h"

/* ---- loop devices ---- */

START_TEST(file_of_a_loop_device_is_not_to_be_locked)
{
    const char *path = fixture_path("disk");
    check_is(path, false, NULL);
    check_is(path, true, loop_path);
    check_is(loop_path, false, NULL);
    check_is(loop_path, true, NULL);
    ck_assert_str_eq(find_one(path, OUTSIDE_LOOP, false).detail, loop_path);
    ck_assert_uint_eq(count_holders(loop_path), 0);
    ck_assert(is_related(path, loop_path));
    ck_assert(is_related(loop_path, path));
    ck_assert_int_eq(ioctl(loop_fd, LOOP_CLR_FD), 0);
    ck_assert_int_eq(close(loop_fd), 0);
    check_is(path, true, NULL);
    ck_assert(!is_related(path, loop_path));
    loop_fd = -1;
}
END_TEST

START_TEST(loop_device_of_a_deleted_file_is_found)
{
    CLEANUP_CLOSE int fd = open(fixture_path("disk"), O_RDWR | O_CLOEXEC);
    char path[32];
    ck_assert_int_eq(unlink(fixture_path("disk")), 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    check_is(path, true, loop_path);
    ck_assert(is_related(loop_path, path));
}
END_TEST

START_TEST(another_file_at_the_path_is_not_the_loop_devices)
{
    ck_assert_int_eq(rename(fixture_path("disk"), fixture_path("moved")), 0);
    const char *other = fixture_file("disk", FIXTURE_MIB);
    check_is(other, true, NULL);
    check_is(fixture_path("moved"), true, loop_path);
}
END_TEST

START_TEST(two_loop_devices_on_a_file_share_bytes)
{
    char second[32];
    CLEANUP_CLOSE int fd = fixture_loop(fixture_path("disk"), 0, second, sizeof(second));
    ck_assert_int_ge(fd, 0);
    ck_assert(is_related(loop_path, second));
    ck_assert(is_related(second, loop_path));
    check_is(loop_path, false, NULL);
    check_is(loop_path, true, second);
    check_is(second, true, loop_path);
}
END_TEST

START_TEST(loop_device_on_a_loop_device_is_found)
{
    char second[32];
    CLEANUP_CLOSE int fd = fixture_loop(loop_path, 0, second, sizeof(second));
    ck_assert_int_ge(fd, 0);
    ck_assert(is_related(second, fixture_path("disk")));
    ck_assert(is_related(fixture_path("disk"), second));
    check_is(loop_path, true, second);
    check_is(second, true, NULL);
}
END_TEST

/* ---- mounts, swap, partitions ---- */

START_TEST(mounted_device_is_refused_with_its_mount_point)
{
    const char *point = fixture_path("mnt");
    mount_on(loop_path, point);
    for (unsigned int lock = 0; lock < 2; lock++) {
        check_is(loop_path, lock == 1, point);
        ck_assert_ptr_eq(strstr(message, "it is mounted at "), message);
        check_is(fixture_path("disk"), lock == 1, point);
        ck_assert_ptr_nonnull(strstr(message, "its loop device "));
        ck_assert_ptr_nonnull(strstr(message, loop_path));
    }
    struct outside_holder holder = find_one(loop_path, OUTSIDE_MOUNT, false);
    ck_assert_str_eq(holder.detail, point);
    ck_assert(holder.exclusive);
    ck_assert_int_eq(holder.pid, 0);
    (void)find_one(fixture_path("disk"), OUTSIDE_MOUNT, true);
    /* A file on it is reached by that mount, which is nothing against it. */
    check_is(fixture_file("mnt/inside", 4096), true, NULL);
    ck_assert_int_eq(umount(point), 0);
    check_is(loop_path, true, NULL);
}
END_TEST

START_TEST(mount_point_with_spaces_is_spelled_out)
{
    const char *point = fixture_path("a b\\c");
    ck_assert_int_eq(mkdir(point, 0700), 0);
    make_filesystem(loop_path);
    ck_assert_int_eq(mount(loop_path, point, "ext4", MS_RDONLY, NULL), 0);
    check_is(loop_path, false, point);
    ck_assert(!find_one(loop_path, OUTSIDE_MOUNT, false).exclusive);
    ck_assert_int_eq(umount(point), 0);
}
END_TEST

START_TEST(btrfs_is_found_by_its_source)
{
    const char *point = fixture_path("mnt");
    ck_assert_int_eq(ftruncate(open(fixture_path("disk"), O_RDWR | O_CLOEXEC), 256L * FIXTURE_MIB),
                     0);
    ck_assert_int_eq(ioctl(loop_fd, LOOP_SET_CAPACITY), 0);
    ck_assert_int_eq(fixture_run("mkfs.btrfs -q -f %s >/dev/null 2>&1", loop_path), 0);
    ck_assert_int_eq(mount(loop_path, point, "btrfs", 0, NULL), 0);
    check_is(loop_path, false, point);
    const char *inside = fixture_file("mnt/inside", 4096);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, inside);
    ck_assert_int_eq(find_one(inside, OUTSIDE_FLOCK, false).pid, child.pid);
    fixture_end(&child);
    char second[32];
    int fd = fixture_loop(inside, 0, second, sizeof(second));
    check_is(inside, true, second);
    (void)close(fd);
    ck_assert_int_eq(umount2(point, MNT_DETACH), 0);
}
END_TEST

START_TEST(swap_area_is_refused)
{
    ck_assert_int_eq(fixture_run("mkswap %s >/dev/null 2>&1", loop_path), 0);
    if (swapon(loop_path, 0) < 0) {
        skipped("a swap area", "%s", strerror(errno));
        return;
    }
    check_is(loop_path, false, "in use as swap");
    check_is(fixture_path("disk"), false, "in use as swap");
    struct outside_holder holder = find_one(loop_path, OUTSIDE_SWAP, false);
    ck_assert_str_eq(holder.detail, loop_path);
    ck_assert_int_eq(swapoff(loop_path), 0);
    check_is(loop_path, false, NULL);
}
END_TEST

START_TEST(swap_file_is_refused)
{
    const char *path = fixture_path("swap");
    ck_assert_int_eq(fixture_run("dd if=/dev/zero of=%s bs=1M count=1 2>/dev/null && chmod 600 %s "
                                 "&& mkswap %s >/dev/null 2>&1",
                                 path, path, path),
                     0);
    if (swapon(path, 0) < 0) {
        skipped("a swap file", "%s", strerror(errno));
        return;
    }
    check_is(path, false, "in use as swap");
    ck_assert_int_eq(swapoff(path), 0);
    check_is(path, false, NULL);
}
END_TEST

START_TEST(partitions_share_bytes_with_their_disk_not_with_each_other)
{
    char parts[2][48];
    make_partitions(parts);
    ck_assert(is_related(loop_path, parts[0]));
    ck_assert(is_related(parts[0], loop_path));
    ck_assert(is_related(parts[0], fixture_path("disk")));
    ck_assert(is_related(fixture_path("disk"), parts[1]));
    ck_assert(!is_related(parts[0], parts[1]));
    mount_on(parts[0], fixture_path("mnt"));
    check_is(parts[0], false, "it is mounted");
    check_is(loop_path, false, "its partition ");
    ck_assert_ptr_nonnull(strstr(message, parts[0]));
    check_is(fixture_path("disk"), false, parts[0]);
    check_is(parts[1], true, NULL);
    ck_assert_int_eq(umount(fixture_path("mnt")), 0);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, parts[0]);
    ck_assert_int_eq(find_one(loop_path, OUTSIDE_FLOCK, true).pid, child.pid);
    ck_assert_uint_eq(count_holders(parts[1]), 0);
    fixture_end(&child);
}
END_TEST

START_TEST(same_inode_on_another_file_system_is_another_file)
{
    const char *points[] = {fixture_path("mnt"), fixture_path("other")};
    const char *paths[2];
    ck_assert_int_eq(mkdir(points[1], 0700), 0);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(mount("test", points[i], "tmpfs", 0, NULL), 0);
    paths[0] = fixture_file("mnt/a", 4096);
    paths[1] = fixture_file("other/a", 4096);
    ck_assert_uint_eq(fixture_identity(paths[0]).inode, fixture_identity(paths[1]).inode);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, paths[0]);
    ck_assert_uint_eq(count_holders(paths[0]), 1);
    ck_assert_uint_eq(count_holders(paths[1]), 0);
    fixture_end(&child);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(umount2(points[i], MNT_DETACH), 0);
}
END_TEST

/* A loop device on a FUSE file system whose server would be this process: whatever asks it for
 * something hangs, and the test's time is up. */
START_TEST(loop_device_on_a_hung_server_does_not_hang_others)
{
    static char sys[128];
    char options[80];
    CLEANUP_CLOSE int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fuse, 0);
    put("sys/block/loop77/dev", "7:77\n");
    put("sys/block/loop77/loop/backing_file", "%s/mnt/image\n", fixture_directory);
    (void)snprintf(sys, sizeof(sys), "%s", fixture_path("sys"));
    (void)snprintf(options, sizeof(options),
                   "fd=%d,rootmode=40000,user_id=0,group_id=0,subtype=test", fuse);
    ck_assert_int_eq(mkdir(fixture_path("dev"), 0700), 0);
    ck_assert_int_eq(fixture_run("mkdir -p %s/dev/block && ln -s ../../block/loop77 "
                                 "%s/dev/block/7:77",
                                 sys, sys),
                     0);
    ck_assert_int_eq(mount("test", fixture_path("mnt"), "fuse", 0, options), 0);
    const char *path = fixture_file("a", 4096);
    outside_sys = sys;
    check_is(path, true, NULL);
    ck_assert(!is_related(path, path));
    ck_assert_uint_eq(count_holders(path), 0);
    ck_assert_int_eq(umount2(fixture_path("mnt"), MNT_DETACH), 0);
}
END_TEST

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, file_of_a_loop_device_is_not_to_be_locked);
    tcase_add_test(tests, loop_device_of_a_deleted_file_is_found);
    tcase_add_test(tests, another_file_at_the_path_is_not_the_loop_devices);
    tcase_add_test(tests, two_loop_devices_on_a_file_share_bytes);
    tcase_add_test(tests, loop_device_on_a_loop_device_is_found);
    tcase_add_test(tests, same_inode_on_another_file_system_is_another_file);
    return tests;
}

static TCase *mount_tests(void)
{
    TCase *tests = tcase_create("ext4");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, mounted_device_is_refused_with_its_mount_point);
    tcase_add_test(tests, mount_point_with_spaces_is_spelled_out);
    tcase_add_test(tests, partitions_share_bytes_with_their_disk_not_with_each_other);
    return tests;
}

static TCase *btrfs_tests(void)
{
    TCase *tests = tcase_create("btrfs");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, btrfs_is_found_by_its_source);
    return tests;
}

static TCase *swap_tests(void)
{
    TCase *tests = tcase_create("swap");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, swap_area_is_refused);
    tcase_add_test(tests, swap_file_is_refused);
    return tests;
}

static TCase *hung_tests(void)
{
    TCase *tests = tcase_create("hung server");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, loop_device_on_a_hung_server_does_not_hang_others);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("outside");

    if (!have_loops("loop devices and mounts") || !have_mounts("loop devices and mounts"))
        return suite_run(suite);
    suite_add_tcase(suite, loop_tests());
    if (have_program("mounts of ext4", "mkfs.ext4"))
        suite_add_tcase(suite, mount_tests());
    if (have_program("btrfs", "mkfs.btrfs") && have_filesystem("btrfs", "btrfs"))
        suite_add_tcase(suite, btrfs_tests());
    if (have_program("swap", "mkswap"))
        suite_add_tcase(suite, swap_tests());
    if (have_fuse("a hung FUSE server"))
        suite_add_tcase(suite, hung_tests());
    return suite_run(suite);
}
