/* SPDX-License-Identifier: MIT */
/* Each test has a process of its own (Check forks), whose standard descriptors it may close. */
#include "common/standard.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/unit/suite.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void close_standard(void)
{
    for (int fd = 0; fd < STANDARD_COUNT; fd++)
        (void)close(fd);
}

START_TEST(closed_ones_become_dev_null_and_others_stay)
{
    struct stat null;
    struct stat before;
    struct stat after;

    ck_assert_int_eq(fstat(1, &before), 0);
    (void)close(0);
    (void)close(2);
    ck_assert_int_eq(standard_occupy(), 0);
    ck_assert_int_eq(fstat(1, &after), 0);
    ck_assert(before.st_dev == after.st_dev && before.st_ino == after.st_ino);
    for (int fd = 0; fd < STANDARD_COUNT; fd += 2) {
        ck_assert_int_eq(fstat(fd, &null), 0);
        ck_assert(S_ISCHR(null.st_mode) && null.st_rdev == makedev(1, 3));
    }
    ck_assert_int_eq(write(2, "x", 1), 1);
}
END_TEST

START_TEST(lifted_descriptor_is_the_same_file_above_the_standard_ones)
{
    struct stat pipe_end;
    struct stat lifted_end;
    int ends[2];

    close_standard();
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(ends[1], 1);
    ck_assert_int_eq(fstat(ends[1], &pipe_end), 0);
    int lifted = standard_lift(ends[1]);
    ck_assert_int_ge(lifted, STANDARD_COUNT);
    ck_assert(!is_open(1));
    ck_assert_int_eq(fcntl(lifted, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fstat(lifted, &lifted_end), 0);
    ck_assert(pipe_end.st_ino == lifted_end.st_ino);
    ck_assert_int_eq(standard_lift(lifted), lifted);
}
END_TEST

START_TEST(no_descriptor_stays_none)
{
    errno = EMFILE;
    ck_assert_int_eq(standard_lift(-1), -1);
    ck_assert_int_eq(errno, EMFILE);
}
END_TEST

START_TEST(nothing_opened_meanwhile_is_a_standard_one)
{
    struct standard_hold hold;

    close_standard();
    standard_hold_begin(&hold);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(write(1, "x", 1), -1); /* whoever prints now prints nowhere */
    standard_hold_end(&hold);
    ck_assert_int_ge(fd, STANDARD_COUNT);
    for (int standard = 0; standard < STANDARD_COUNT; standard++)
        ck_assert(!is_open(standard));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("common/standard");
    TCase *tests = tcase_create("standard");

    tcase_add_test(tests, closed_ones_become_dev_null_and_others_stay);
    tcase_add_test(tests, lifted_descriptor_is_the_same_file_above_the_standard_ones);
    tcase_add_test(tests, no_descriptor_stays_none);
    tcase_add_test(tests, nothing_opened_meanwhile_is_a_standard_one);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
