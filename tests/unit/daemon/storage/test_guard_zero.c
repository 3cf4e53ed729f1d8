/* SPDX-License-Identifier: MIT */
/* Zeroing and discarding under the guard, and while it changes. */
#include <stdatomic.h>

#include "tests/unit/daemon/storage/guard_fixture.h"

static int zero(struct posix *posix, uint64_t offset_bytes, uint64_t length_bytes)
{
    struct io io = {.op = IO_DISCARD, .offset_bytes = offset_bytes, .length_bytes = length_bytes};
    return posix_do_zero(posix, &io);
}

START_TEST(exclusive_holder_punches_holes)
{
    struct posix *posix = open_device(loop_path);
    struct stat before;
    struct stat after;
    ck_assert_int_eq(
        fixture_run("dd if=/dev/urandom of=%s bs=1M count=4 conv=fsync 2>/dev/null", loop_path), 0);
    ck_assert_int_eq(stat(fixture_path("disk"), &before), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(zero(posix, 0, 2UL * FIXTURE_MIB), 0);
    ck_assert_int_eq(posix->discard, DISCARD_PUNCH_HOLE);
    ck_assert_int_eq(stat(fixture_path("disk"), &after), 0);
    ck_assert_int_le(after.st_blocks, before.st_blocks - 2 * FIXTURE_MIB / 512);
    backend_close(&posix->base);
}
END_TEST

static atomic_bool stop_zeroing;

static void *on_zero_again(void *context)
{
    while (!stop_zeroing)
        ck_assert_int_eq(zero(context, 0, 65536), 0);
    return NULL;
}

/* Closed descriptor numbers are taken by another file at once here: a zeroing that used one would
 * empty it. */
START_TEST(zeroing_while_the_guard_changes_hits_nothing_else)
{
    const char *victim = fixture_file("victim", 65536);
    struct posix *posix = open_device(loop_path);
    pthread_t threads[2];
    ck_assert_int_eq(fixture_run("yes | dd of=%s bs=64k count=1 iflag=fullblock conv=notrunc "
                                 "2>/dev/null",
                                 victim),
                     0);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, on_zero_again, posix), 0);
    for (unsigned int i = 0; i < 200; i++) {
        int fds[8];
        enum guard_mode kept = GUARD_NONE;
        (void)change(posix, GUARD_EXCLUSIVE, &kept);
        (void)change(posix, GUARD_NONE, &kept);
        for (unsigned int j = 0; j < 8; j++)
            fds[j] = open(victim, O_RDWR | O_CLOEXEC);
        for (unsigned int j = 0; j < 8; j++)
            ck_assert_int_eq(close(fds[j]), 0);
    }
    stop_zeroing = true;
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(fixture_run("yes | head -c 65536 | cmp -s - %s", victim), 0);
    backend_close(&posix->base);
}
END_TEST

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_add_test(tests, exclusive_holder_punches_holes);
    tcase_add_test(tests, zeroing_while_the_guard_changes_hits_nothing_else);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("guard and zeroing");
    if (have_loops("loop devices"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}
