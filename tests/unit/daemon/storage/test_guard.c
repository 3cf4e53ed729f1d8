/* SPDX-License-Identifier: MIT */
/* The guard against other programs: their flock and their O_EXCL, what they are told, and what blkd
 * says of them. */
#include "tests/unit/daemon/storage/guard_fixture.h"

START_TEST(each_mode_keeps_out_what_conflicts)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_flock(path, LOCK_SH), 0);
    ck_assert_int_eq(try_flock(path, LOCK_EX), -EWOULDBLOCK);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(try_flock(path, LOCK_SH), -EWOULDBLOCK);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_flock(path, LOCK_SH), 0);
    ck_assert_int_eq(try_flock(path, LOCK_EX), -EWOULDBLOCK);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_flock(path, LOCK_EX), 0);
    ck_assert_int_eq(posix->guard_fd, -1);
    backend_close(&posix->base);
}
END_TEST

START_TEST(closing_lets_go)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
    ck_assert_int_eq(try_flock(path, LOCK_EX), 0);
}
END_TEST

START_TEST(holder_of_a_flock_is_named)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    said("flock");
    said_pid(child.pid);
    said("test_guard");
    ck_assert_int_eq(posix->guard_fd, -1);
    fixture_end(&child);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(failed_upgrade_keeps_the_shared_lock)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    struct fixture_child child = fixture_hold(hold_flock_shared, path);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("shared flock");
    said_pid(child.pid);
    fixture_end(&child);
    ck_assert_int_eq(try_flock(path, LOCK_EX), -EWOULDBLOCK);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(changes_are_made_on_one_description)
{
    struct posix *posix = open_device(fixture_file("a", FIXTURE_MIB));
    take(posix, GUARD_SHARED);
    int fd = posix->guard_fd;
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(posix->guard_fd, fd);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(posix->guard_fd, fd);
    backend_close(&posix->base);
}
END_TEST

START_TEST(momentary_flock_is_waited_out)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, on_end_soon, &child), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(flock_of_util_linux_is_refused)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(fixture_run("flock -n -E 42 %s true", path), 42);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("flock -n -E 42 %s true", path), 42);
    ck_assert_int_eq(fixture_run("flock -n -s -E 42 %s true", path), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(attempt_without_a_message_is_refused_alike)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    struct io io = {.op = IO_GUARD, .guard_mode = GUARD_SHARED};
    ck_assert_int_eq(posix_do_guard(posix, &io), -EBUSY);
    fixture_end(&child);
    backend_close(&posix->base);
}
END_TEST

/* ---- block devices ---- */

START_TEST(exclusive_open_is_kept_out_by_the_exclusive_lock_only)
{
    struct posix *posix = open_device(loop_path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    ck_assert_int_eq(fixture_run("mkfs.ext4 -q %s >/dev/null 2>&1", loop_path), 1);
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), -EWOULDBLOCK);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), -EWOULDBLOCK);
    backend_close(&posix->base);
}
END_TEST

START_TEST(exclusive_open_of_another_keeps_every_lock_out)
{
    struct posix *posix = open_device(loop_path);
    take(posix, GUARD_SHARED);
    CLEANUP_CLOSE int other = open(loop_path, O_RDONLY | O_EXCL | O_CLOEXEC);
    ck_assert_int_ge(other, 0);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("O_EXCL");
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), 0);
    take(posix, GUARD_NONE);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    refused(posix, GUARD_EXCLUSIVE, GUARD_NONE);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), 0);
    ck_assert_int_eq(close(TAKE_FD(other)), 0);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(attached_file_is_refused_and_its_loop_device_named)
{
    struct posix *posix = open_device(fixture_path("disk"));
    refused(posix, GUARD_SHARED, GUARD_NONE);
    said(loop_path);
    backend_close(&posix->base);
    posix = open_device(loop_path);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(lock_on_what_shares_the_bytes_keeps_out)
{
    const char *path = fixture_path("disk");
    struct posix *posix = open_device(loop_path);
    struct fixture_child child = fixture_hold(hold_flock_shared, path);
    take(posix, GUARD_SHARED);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("its backing store ");
    said(path);
    said_pid(child.pid);
    fixture_end(&child);
    take(posix, GUARD_EXCLUSIVE);
    take(posix, GUARD_NONE);
    child = fixture_hold(hold_flock_exclusive, path);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, on_end_soon, &child), 0);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    backend_close(&posix->base);
}
END_TEST

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, each_mode_keeps_out_what_conflicts);
    tcase_add_test(tests, closing_lets_go);
    tcase_add_test(tests, holder_of_a_flock_is_named);
    tcase_add_test(tests, failed_upgrade_keeps_the_shared_lock);
    tcase_add_test(tests, changes_are_made_on_one_description);
    tcase_add_test(tests, momentary_flock_is_waited_out);
    tcase_add_test(tests, flock_of_util_linux_is_refused);
    tcase_add_test(tests, attempt_without_a_message_is_refused_alike);
    return tests;
}

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_add_test(tests, exclusive_open_is_kept_out_by_the_exclusive_lock_only);
    tcase_add_test(tests, exclusive_open_of_another_keeps_every_lock_out);
    tcase_add_test(tests, attached_file_is_refused_and_its_loop_device_named);
    tcase_add_test(tests, lock_on_what_shares_the_bytes_keeps_out);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("guard");
    suite_add_tcase(suite, file_tests());
    if (have_loops("loop devices"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}
