/* SPDX-License-Identifier: MIT */
/* The pure pieces of libblkd: places in lists of buffers, and how long to spin. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/base/cursor.h"
#include "common/spin.h"
#include "tests/unit/suite.h"

START_TEST(cursor_walks_over_every_boundary)
{
    static const char letters[] = "abcdefghijkl";
    char bytes[12];
    const struct iovec iov[] = {{bytes, 3}, {NULL, 0}, {bytes + 3, 1}, {bytes + 4, 8}, {NULL, 0}};
    struct cursor cursor;

    for (size_t step = 1; step <= 12; step++) {
        memset(bytes, 0, sizeof(bytes));
        cursor_init(&cursor, iov);
        for (size_t done = 0; done < 12; done += step)
            cursor_fill(&cursor, &letters[done], done + step <= 12 ? step : 12 - done);
        ck_assert_mem_eq(bytes, letters, 12);
    }
}
END_TEST

START_TEST(cursor_lists_what_is_ahead)
{
    char bytes[12];
    const struct iovec iov[] = {{bytes, 3}, {NULL, 0}, {bytes + 3, 1}, {bytes + 4, 8}};
    struct iovec view[4];
    struct cursor cursor;
    size_t listed;

    cursor_init(&cursor, iov);
    cursor_advance(&cursor, 2);
    ck_assert_uint_eq(cursor_view(&cursor, 5, view, 4, &listed), 3);
    ck_assert_uint_eq(listed, 5);
    ck_assert_ptr_eq(view[0].iov_base, bytes + 2);
    ck_assert_uint_eq(view[0].iov_len, 1);
    ck_assert_ptr_eq(view[2].iov_base, bytes + 4);
    ck_assert_uint_eq(view[2].iov_len, 3);
    ck_assert_uint_eq(cursor_view(&cursor, 5, view, 2, &listed), 2);
    ck_assert_uint_eq(listed, 2);
    ck_assert_uint_eq(cursor_view(&cursor, 0, view, 4, &listed), 0);
    ck_assert_uint_eq(listed, 0);
}
END_TEST

START_TEST(spin_is_off_when_told)
{
    struct spin spin;

    spin_init(&spin, 0);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(spin_begin(&spin), 0);
}
END_TEST

START_TEST(spin_budget_follows_the_answers)
{
    struct spin spin;

    spin_init(&spin, 200000);
    for (int i = 0; i < 100; i++)
        spin_found(&spin, 4000);
    ck_assert_uint_eq(spin_begin(&spin), 50000); /* a wake-up's time: never less */
    spin_found(&spin, 60000);
    ck_assert_uint_eq(spin_begin(&spin), 120000);
    spin_found(&spin, 4000);
    ck_assert_uint_lt(spin_begin(&spin), 120000);
    ck_assert_uint_gt(spin_begin(&spin), 90000); /* forgets slowly */
    spin_found(&spin, 190000);
    ck_assert_uint_eq(spin_begin(&spin), 200000);
}
END_TEST

/* Slow answers: of many waits only a few spin, ever fewer. */
START_TEST(spin_that_finds_nothing_gets_rare)
{
    struct spin spin;
    unsigned int spins = 0;

    spin_init(&spin, 50000);
    for (int i = 0; i < 10000; i++)
        if (spin_begin(&spin) > 0) {
            spins++;
            spin_failed(&spin);
        }
    ck_assert_uint_ge(spins, 10000 / SPIN_BACKOFF_MAX);
    ck_assert_uint_le(spins, 10000 / SPIN_BACKOFF_MAX + 10);
    /* And when answers become quick again, a probe finds out. */
    while (spin_begin(&spin) == 0)
        ;
    spin_found(&spin, 3000);
    ck_assert_uint_gt(spin_begin(&spin), 0);
}
END_TEST

/* How many waits sleep at once until the next spin. */
static unsigned int waits_until_probe(struct spin *spin, uint64_t slept_ns)
{
    unsigned int waits = 0;

    while (spin_begin(spin) == 0) {
        spin_slept(spin, slept_ns);
        waits++;
    }
    return waits;
}

/* Two sides that sleep are slow because they sleep: short sleeps bring the next try nearer. */
START_TEST(spin_is_tried_sooner_after_short_sleeps)
{
    struct spin spin;
    unsigned int after_long, after_short;

    spin_init(&spin, 50000);
    for (int i = 0; i < 20; i++) {
        (void)waits_until_probe(&spin, 60000);
        spin_failed(&spin);
    }
    after_long = waits_until_probe(&spin, 60000);
    spin_failed(&spin);
    after_short = waits_until_probe(&spin, 40000);
    ck_assert_uint_eq(after_long, SPIN_BACKOFF_MAX);
    ck_assert_uint_le(after_short, SPIN_BACKOFF_MAX / SPIN_CREDIT);
    ck_assert_uint_gt(after_short, SPIN_BACKOFF_MAX / SPIN_CREDIT / 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_parts");
    TCase *tests = tcase_create("pure");

    tcase_add_test(tests, cursor_walks_over_every_boundary);
    tcase_add_test(tests, cursor_lists_what_is_ahead);
    tcase_add_test(tests, spin_is_off_when_told);
    tcase_add_test(tests, spin_budget_follows_the_answers);
    tcase_add_test(tests, spin_that_finds_nothing_gets_rare);
    tcase_add_test(tests, spin_is_tried_sooner_after_short_sleeps);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
