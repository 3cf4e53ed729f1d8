/* SPDX-License-Identifier: MIT */
/* What opening a file or block device checks, and what it says of it. */
#include "tests/unit/daemon/storage/guard_fixture.h"

static bool opened_read_write;

static int try_open(const char *path, bool read_only, bool read_write)
{
    const struct backend_open open_ = {
        .path = path, .fd = -1, .read_only_asked = read_only, .read_write_asked = read_write};
    struct backend *backend = NULL;
    struct backend_info info;
    int error = backend_posix_open(&open_, &backend, &info, message);
    if (error == 0) {
        opened_read_write = info.read_write;
        backend_close(backend);
    }
    return error;
}

START_TEST(mounted_device_opens_read_only_unless_writing_is_asked_for)
{
    const char *point = fixture_path("mnt");
    ck_assert_int_eq(mkdir(point, 0700), 0);
    ck_assert_int_eq(fixture_run("mkfs.ext4 -q %s 4M >/dev/null 2>&1", loop_path), 0);
    ck_assert_int_eq(mount(loop_path, point, "ext4", 0, NULL), 0);
    for (unsigned int i = 0; i < 2; i++) {
        const char *path = i == 0 ? loop_path : fixture_path("disk");
        ck_assert_int_eq(try_open(path, false, true), -EBUSY);
        said("mounted at ");
        said(point);
        ck_assert_int_eq(try_open(path, true, false), 0);
        ck_assert(!opened_read_write);
        ck_assert_int_eq(try_open(path, false, false), 0);
        ck_assert(!opened_read_write);
    }
    ck_assert_int_eq(umount(point), 0);
    ck_assert_int_eq(try_open(loop_path, false, false), 0);
    ck_assert(opened_read_write);
}
END_TEST

START_TEST(opening_tells_key_relatives_and_whether_it_is_in_memory)
{
    const struct backend_open open_ = {.path = loop_path, .fd = -1};
    struct backend *backend = NULL;
    struct backend_info info;
    ck_assert_int_eq(backend_posix_open(&open_, &backend, &info, message), 0);
    const struct device_identity file = fixture_identity(fixture_path("disk"));
    ck_assert_uint_eq(info.related_count, 1);
    ck_assert_mem_eq(&info.related[0], &file, sizeof(file));
    ck_assert_ptr_eq(strstr(info.key.text, "diskseq-"), info.key.text);
    ck_assert(!info.volatile_storage);
    backend_close(backend);
}
END_TEST

START_TEST(how_a_file_is_discarded_is_known_at_open)
{
    const char *point = fixture_path("mnt");
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct stat before;
    struct stat after;
    ck_assert_int_eq(stat(path, &before), 0);
    struct posix *posix = open_device(path);
    ck_assert_int_eq(posix->discard, DISCARD_PUNCH_HOLE);
    backend_close(&posix->base);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    ck_assert_int_eq(mkdir(point, 0700), 0);
    ck_assert_int_eq(mount("test", point, "ramfs", 0, NULL), 0);
    path = fixture_file("mnt/a", FIXTURE_MIB);
    posix = open_device(path);
    ck_assert_int_eq(posix->discard, DISCARD_WRITE);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(after.st_size, FIXTURE_MIB);
    backend_close(&posix->base);
    ck_assert_int_eq(umount2(point, MNT_DETACH), 0);
}
END_TEST

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_add_test(tests, mounted_device_opens_read_only_unless_writing_is_asked_for);
    tcase_add_test(tests, opening_tells_key_relatives_and_whether_it_is_in_memory);
    tcase_add_test(tests, how_a_file_is_discarded_is_known_at_open);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("open");
    if (have_loops("loop devices") && have_mounts("loop devices"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}
