/* SPDX-License-Identifier: MIT */
/* Uses of a block device that no table shows: the kernel is asked. */
#include "daemon/storage/outside/claims.h"

#include "tests/unit/daemon/storage/outside_loop.h"

#define CLAIMED "claimed by the kernel"

START_TEST(lazily_unmounted_file_system_is_in_use_while_a_file_of_it_is_open)
{
    const char *point = fixture_path("mnt");
    mount_on(loop_path, point);
    const char *inside = fixture_file("mnt/inside", 4096);
    CLEANUP_CLOSE int fd = open(inside, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(umount2(point, MNT_DETACH), 0);
    for (unsigned int lock = 0; lock < 2; lock++) {
        check_is(loop_path, lock == 1, CLAIMED);
        check_is(fixture_path("disk"), lock == 1, lock == 1 ? loop_path : "its loop device ");
    }
    ck_assert_ptr_nonnull(strstr(find_one(loop_path, OUTSIDE_KERNEL, false).detail, CLAIMED));
    (void)find_one(fixture_path("disk"), OUTSIDE_KERNEL, true);
    ck_assert_int_eq(close(TAKE_FD(fd)), 0);
    check_is(loop_path, true, NULL);
    ck_assert_uint_eq(count_holders(loop_path), 0);
}
END_TEST

/* A file system of a mount namespace that this process is not in. */
static void hold_mounted_elsewhere(const char *path)
{
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ck_assert_int_eq(mount(path, fixture_path("mnt"), "ext4", 0, NULL), 0);
}

START_TEST(file_system_of_another_mount_namespace_is_in_use)
{
    make_filesystem(loop_path);
    struct fixture_child child = fixture_hold(hold_mounted_elsewhere, loop_path);
    check_is(loop_path, false, CLAIMED);
    fixture_end(&child);
    check_is(loop_path, true, NULL);
}
END_TEST

START_TEST(claim_of_a_partition_is_one_of_its_disk_and_not_of_its_neighbour)
{
    char parts[2][48];
    make_partitions(parts);
    struct fixture_child child = fixture_hold(hold_exclusive_open, parts[0]);
    check_is(parts[0], false, CLAIMED);
    check_is(loop_path, false, CLAIMED);
    check_is(parts[1], true, NULL);
    fixture_end(&child);
    check_is(loop_path, true, NULL);
    child = fixture_hold(hold_exclusive_open, loop_path);
    check_is(parts[1], false, CLAIMED);
    fixture_end(&child);
}
END_TEST

START_TEST(own_claim_is_not_somebody_elses)
{
    const struct device_identity identity = fixture_identity(loop_path);
    ck_assert_int_eq(outside_claim_begin(identity.dev), 0);
    CLEANUP_CLOSE int fd = open(loop_path, O_RDONLY | O_EXCL | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    check_is(loop_path, true, NULL);
    ck_assert_uint_eq(count_holders(loop_path), 0);
    outside_claim_end(identity.dev);
    check_is(loop_path, true, CLAIMED); /* as far as anybody can tell */
}
END_TEST

static TCase *claim_tests(void)
{
    TCase *tests = tcase_create("claims");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, claim_of_a_partition_is_one_of_its_disk_and_not_of_its_neighbour);
    tcase_add_test(tests, own_claim_is_not_somebody_elses);
    return tests;
}

static TCase *mount_tests(void)
{
    TCase *tests = tcase_create("mounts");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, lazily_unmounted_file_system_is_in_use_while_a_file_of_it_is_open);
    tcase_add_test(tests, file_system_of_another_mount_namespace_is_in_use);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("claims");

    if (!have_loops("loop devices"))
        return suite_run(suite);
    suite_add_tcase(suite, claim_tests());
    if (have_mounts("mounts") && have_program("mounts of ext4", "mkfs.ext4"))
        suite_add_tcase(suite, mount_tests());
    return suite_run(suite);
}
