/* SPDX-License-Identifier: MIT */
/* Who else has a device, by what /sys and /proc say: volumes, partitions, mounts of others. */
#include "tests/unit/daemon/storage/outside_loop.h"
#include "tests/unit/daemon/storage/outside_sysfs.h"

static enum refusal refusal;

START_TEST(volumes_are_related_up_and_down_only)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity volume = block(253, 0);
    const struct device_identity other = block(253, 1);
    put_volumes();
    ck_assert(fake_related(&disk, block(253, 0)));
    ck_assert(fake_related(&disk, block(253, 2)));
    ck_assert(fake_related(&volume, disk));
    ck_assert(fake_related(&volume, block(253, 2)));
    ck_assert(!fake_related(&volume, other));
    ck_assert(fake_related(&other, disk));
    ck_assert(!fake_related(&other, block(253, 2)));
}
END_TEST

START_TEST(disk_below_a_volume_is_refused_and_the_volume_is_not)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity top = block(253, 2);
    const struct device_identity other = block(253, 1);
    put_volumes();
    ck_assert_int_eq(outside_check(&disk, false, message, &refusal), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "in use by the kernel for /dev/dm-"));
    ck_assert_int_eq(outside_check(&top, true, message, &refusal), 0);
    ck_assert_int_eq(outside_check(&other, true, message, &refusal), 0);
    struct outside_holders holders;
    ck_assert_int_eq(outside_find_holders(&disk, &holders), 0);
    ck_assert_uint_eq(holders.count, 3);
    for (size_t i = 0; i < holders.count; i++)
        ck_assert_int_eq(holders.list[i].kind, OUTSIDE_KERNEL);
    outside_holders_free(&holders);
    put("proc/self/mountinfo", "28 1 253:2 / /vol rw - xfs /dev/dm-2 rw\n");
    ck_assert_int_eq(outside_check(&disk, false, message, &refusal), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "/dev/dm-2 is mounted at /vol"));
    ck_assert_int_eq(outside_check(&other, true, message, &refusal), 0);
}
END_TEST

START_TEST(claimed_disk_takes_its_partitions_along)
{
    const struct device_identity part = block(8, 401);
    put_device("sdz", 8, 400);
    put_device("dm-0", 253, 0);
    put_link("253:0", "8:400");
    put_device("sdz1", 8, 401);
    put("sys/dev/block/8:401/partition", "1\n");
    ck_assert_int_eq(fixture_run("cd %s && mv 8:401 8:400/sdz1 && ln -s 8:400/sdz1 8:401",
                                 fixture_path("sys/dev/block")),
                     0);
    ck_assert(fake_related(&part, block(8, 400)));
    ck_assert_int_eq(outside_check(&part, false, message, &refusal), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "its whole disk /dev/sdz is in use"));
}
END_TEST

START_TEST(longer_lists_keep_what_is_below)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity last = block(253, 99);
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t count = 0;
    put_device("sdz", 8, 400);
    for (unsigned int i = 0; i < 100; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dm-%u", i);
        put_device(name, 253, i);
        (void)snprintf(name, sizeof(name), "253:%u", i);
        put_link(name, "8:400");
    }
    ck_assert_int_eq(outside_find_related(&disk, related, &count), 0);
    ck_assert_uint_eq(count, BACKEND_RELATED_MAX);
    ck_assert(fake_related(&last, disk));
    struct outside_holders holders;
    ck_assert_int_eq(outside_find_holders(&disk, &holders), 0);
    ck_assert_uint_eq(holders.count, OUTSIDE_HOLDERS_MAX);
    outside_holders_free(&holders);
}
END_TEST

START_TEST(mounts_of_process_one_count)
{
    const struct device_identity disk = block(8, 400);
    put("proc/1/mountinfo", "28 1 8:400 / /srv rw shared:7 master:3 - xfs /dev/sdz rw\n");
    /* As in a sandbox that does not let the daemon look at process 1's namespaces. */
    ck_assert_int_eq(outside_check(&disk, false, message, &refusal), -EBUSY);
    ck_assert_int_eq(symlink("mnt:[1]", fixture_path("proc/1/ns/mnt")), 0);
    ck_assert_int_eq(symlink("mnt:[1]", fixture_path("proc/self/ns/mnt")), 0);
    ck_assert_int_eq(outside_check(&disk, false, message, &refusal), 0);
    ck_assert_int_eq(unlink(fixture_path("proc/self/ns/mnt")), 0);
    ck_assert_int_eq(symlink("mnt:[2]", fixture_path("proc/self/ns/mnt")), 0);
    ck_assert_int_eq(outside_check(&disk, false, message, &refusal), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "/srv"));
}
END_TEST

START_TEST(unreadable_proc_is_an_error_with_a_sentence)
{
    const struct device_identity disk = block(8, 400);
    outside_proc = "/nonexistent";
    ck_assert_int_eq(outside_check(&disk, false, message, &refusal), -ENOENT);
    ck_assert_ptr_nonnull(strstr(message, "cannot find out"));
}
END_TEST

START_TEST(loop_device_on_a_disk_is_none_of_its_volumes)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity volume = block(253, 0);
    fake_setup_directories();
    put_volumes();
    const char *node = fixture_path("node"); /* good for 8 more paths */
    ck_assert_int_eq(mknod(node, S_IFBLK | 0600, disk.dev), 0);
    put("sys/block/loop77/dev", "7:77\n");
    put("sys/block/loop77/loop/backing_file", "%s\n", node);
    ck_assert_int_eq(symlink("../../block/loop77", fixture_path("sys/dev/block/7:77")), 0);
    ck_assert(fake_related(&disk, block(7, 77)));
    ck_assert(!fake_related(&volume, block(7, 77)));
    ck_assert_int_eq(outside_check(&volume, true, message, &refusal), -EBUSY); /* for dm-2 */
    ck_assert_ptr_null(strstr(message, "7:77"));
}
END_TEST

static TCase *sysfs_tests(void)
{
    TCase *tests = tcase_create("sysfs");

    tcase_add_checked_fixture(tests, fake_setup, fixture_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, volumes_are_related_up_and_down_only);
    tcase_add_test(tests, disk_below_a_volume_is_refused_and_the_volume_is_not);
    tcase_add_test(tests, claimed_disk_takes_its_partitions_along);
    tcase_add_test(tests, longer_lists_keep_what_is_below);
    tcase_add_test(tests, mounts_of_process_one_count);
    tcase_add_test(tests, unreadable_proc_is_an_error_with_a_sentence);
    return tests;
}

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, loop_device_on_a_disk_is_none_of_its_volumes);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("outside, sysfs");

    suite_add_tcase(suite, sysfs_tests());
    if (have_loops("loop devices and mounts") && have_mounts("loop devices and mounts"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}
