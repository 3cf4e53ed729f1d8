/* SPDX-License-Identifier: MIT */
/* The guard and QEMU, which locks bytes of its images (fcntl): each keeps the other out. */
#include "tests/unit/daemon/storage/guard_fixture.h"

/* A qemu-io that has the image open until its input ends. */
static FILE *start_qemu_io(const char *options, const char *path)
{
    char command[256];
    const char *ready = fixture_path("ready");
    (void)unlink(ready);
    (void)snprintf(command, sizeof(command), "qemu-io %s -f raw %s >%s", options, path, ready);
    FILE *qemu = popen(command, "w"); /* NOLINT(cert-env33-c): a test's own words */
    ck_assert_ptr_nonnull(qemu);
    ck_assert_int_gt(fprintf(qemu, "read 0 512\n"), 0);
    ck_assert_int_eq(fflush(qemu), 0);
    const struct timespec step = {.tv_nsec = 10000000L};
    while (fixture_run("grep -q 'read 512/512' %s 2>/dev/null", ready) != 0)
        (void)nanosleep(&step, NULL); /* the test's time limit ends it */
    return qemu;
}

START_TEST(qemu_is_refused_what_conflicts)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    ck_assert_int_eq(fixture_run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-img resize -f raw %s 2M >/dev/null 2>&1", path), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_ne(fixture_run("qemu-img map -f raw %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(fixture_run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
    backend_close(&posix->base);
}
END_TEST

/* Of a raw image it reads nothing, and so needs no permission; of others it does. */
START_TEST(qemu_img_info_is_refused_by_the_exclusive_lock)
{
    const char *path = fixture_path("a.qcow2");
    ck_assert_int_eq(fixture_run("qemu-img create -q -f qcow2 %s 1M", path), 0);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_ne(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    ck_assert_int_eq(fixture_run("qemu-img info -U %s >/dev/null 2>&1", path), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(qemu_that_writes_keeps_every_lock_out)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    FILE *qemu = start_qemu_io("", path);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    said("fcntl lock on bytes 100-101");
    said("qemu-io");
    refused(posix, GUARD_EXCLUSIVE, GUARD_NONE);
    ck_assert_int_eq(pclose(qemu), 0);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(qemu_that_reads_keeps_the_exclusive_lock_out)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    FILE *qemu = start_qemu_io("-r", path);
    take(posix, GUARD_SHARED);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("qemu-io");
    /* Nothing of the attempt is left. */
    ck_assert_int_eq(try_flock(path, LOCK_SH), 0);
    ck_assert_int_eq(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
    ck_assert_int_eq(pclose(qemu), 0);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

static TCase *qemu_tests(void)
{
    TCase *tests = tcase_create("qemu");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, qemu_is_refused_what_conflicts);
    tcase_add_test(tests, qemu_img_info_is_refused_by_the_exclusive_lock);
    tcase_add_test(tests, qemu_that_writes_keeps_every_lock_out);
    tcase_add_test(tests, qemu_that_reads_keeps_the_exclusive_lock_out);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("guard and QEMU");
    if (have_program("QEMU's locks", "qemu-io") && have_program("QEMU's locks", "qemu-img"))
        suite_add_tcase(suite, qemu_tests());
    return suite_run(suite);
}
