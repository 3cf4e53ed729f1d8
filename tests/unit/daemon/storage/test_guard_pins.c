/* SPDX-License-Identifier: MIT */
/* What outlives the guard's own descriptors: a duplicate, and what an engine has pinned. */
#include "tests/unit/daemon/storage/guard_fixture.h"

START_TEST(duplicate_keeps_the_claim_until_it_is_closed)
{
    struct posix *posix = open_device(loop_path);
    ck_assert_int_eq(posix_dup_exclusive(posix), -1);
    take(posix, GUARD_EXCLUSIVE);
    int fd = posix_dup_exclusive(posix);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    backend_close(&posix->base);
}
END_TEST

static struct engine *new_ring(void)
{
    struct engine *engine = NULL;
    int reason = 0;
    int error = engine_new("io_uring", &engine, &reason);
    if (error < 0)
        printf("skipped: pins: no io_uring here: %s\n", strerror(-error));
    return engine;
}

START_TEST(pinned_guard_outlives_its_descriptors)
{
    struct engine *engine = new_ring();
    if (engine == NULL)
        return;
    struct posix *posix = open_device(loop_path);
    take(posix, GUARD_EXCLUSIVE);
    backend_pin(&posix->base, engine);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), -EWOULDBLOCK);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    backend_unpin(&posix->base, engine);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), 0);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    backend_unpin(&posix->base, engine);
    backend_close(&posix->base);
    ck_assert_ptr_null(engine_free(engine));
}
END_TEST

START_TEST(pin_follows_the_guard)
{
    struct engine *engine = new_ring();
    struct engine *other = new_ring();
    if (engine == NULL || other == NULL)
        return;
    struct posix *posix = open_device(loop_path);
    backend_pin(&posix->base, engine);
    take(posix, GUARD_SHARED);
    backend_pin(&posix->base, engine);
    backend_pin(&posix->base, other);
    take(posix, GUARD_EXCLUSIVE);
    backend_pin(&posix->base, engine);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    backend_pin(&posix->base, engine); /* to nothing */
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), -EWOULDBLOCK); /* the other's */
    backend_unpin(&posix->base, other);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), 0);
    backend_close(&posix->base);
    ck_assert_ptr_null(engine_free(engine));
    ck_assert_ptr_null(engine_free(other));
}
END_TEST

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_add_test(tests, duplicate_keeps_the_claim_until_it_is_closed);
    tcase_add_test(tests, pinned_guard_outlives_its_descriptors);
    tcase_add_test(tests, pin_follows_the_guard);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("guard pins");
    if (have_loops("loop devices"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}
