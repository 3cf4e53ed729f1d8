/* SPDX-License-Identifier: MIT */
/* What counts as a failed sync, and through which descriptor syncs go. The calls are made by the
 * test. */
#include "tests/unit/daemon/storage/guard_fixture.h"

static int sync_result;
static int synced_fd;
static unsigned int sync_count;

static int sync_as_told(int fd)
{
    synced_fd = fd;
    sync_count++;
    return sync_result;
}

static struct posix_calls calls;

static struct posix *open_image(bool read_only)
{
    const struct backend_open open_ = {
        .path = fixture_file("image", 4096), .fd = -1, .read_only_asked = read_only};
    struct backend *backend = NULL;
    struct backend_info info;
    ck_assert_int_eq(backend_posix_open(&open_, &backend, &info, message), 0);
    ck_assert_int_eq(info.read_write, !read_only);
    calls = posix_calls_here;
    calls.sync = sync_as_told;
    posix_of(backend)->calls = &calls;
    sync_count = 0;
    return posix_of(backend);
}

/* What a file system says that has no sync, because nothing can be written to it; and an aborted
 * btrfs. */
static const int no_sync[] = {-EINVAL, -EOPNOTSUPP, -EROFS};

START_TEST(nothing_to_sync_is_no_failure_where_nothing_could_be_written)
{
    const struct io io = {.op = IO_SYNC};
    struct posix *posix = open_image(true);
    sync_result = no_sync[_i];
    ck_assert_int_eq(posix_do_sync(posix, &io), 0);
    sync_result = -EIO;
    ck_assert_int_eq(posix_do_sync(posix, &io), -EIO);
    ck_assert_uint_eq(sync_count, 2);
    backend_close(&posix->base);
}
END_TEST

START_TEST(nothing_to_sync_is_a_failure_where_something_could_be_written)
{
    const struct io io = {.op = IO_SYNC};
    struct posix *posix = open_image(false);
    sync_result = no_sync[_i];
    ck_assert_int_eq(posix_do_sync(posix, &io), no_sync[_i]);
    backend_close(&posix->base);
}
END_TEST

START_TEST(zeroing_is_made_stable_through_the_cursor_and_tells_whether_that_failed)
{
    struct io io = {.op = IO_ZERO, .fua = true, .length_bytes = 4096};
    struct posix *posix = open_image(false);
    sync_result = 0;
    ck_assert_int_eq(posix_do_zero(posix, &io), 0);
    ck_assert(!io.sync_failed);
    ck_assert_int_eq(synced_fd, posix->cursor_fd);
    sync_result = -EREMOTEIO;
    ck_assert_int_eq(posix_do_zero(posix, &io), -EREMOTEIO);
    ck_assert(io.sync_failed);
    ck_assert_uint_eq(sync_count, 2);
    backend_close(&posix->base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("syncs");
    TCase *tests = tcase_create("files");
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_loop_test(tests, nothing_to_sync_is_no_failure_where_nothing_could_be_written, 0,
                        sizeof(no_sync) / sizeof(no_sync[0]));
    tcase_add_loop_test(tests, nothing_to_sync_is_a_failure_where_something_could_be_written, 0,
                        sizeof(no_sync) / sizeof(no_sync[0]));
    tcase_add_test(tests, zeroing_is_made_stable_through_the_cursor_and_tells_whether_that_failed);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
