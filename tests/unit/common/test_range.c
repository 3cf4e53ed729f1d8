/* SPDX-License-Identifier: MIT */
#include "common/range.h"

#include <check.h>
#include <stdlib.h>

#include "tests/unit/suite.h"

#define LARGEST ((uint64_t)INT64_MAX)

START_TEST(end_is_the_sum)
{
    uint64_t end = 7;

    ck_assert(range_end(512, 1024, &end));
    ck_assert_uint_eq(end, 1536);
    ck_assert(range_end(0, 0, &end));
    ck_assert_uint_eq(end, 0);
}
END_TEST

START_TEST(end_reaches_the_largest_offset_and_no_further)
{
    uint64_t end = 7;

    ck_assert(range_end(LARGEST - 512, 512, &end));
    ck_assert_uint_eq(end, LARGEST);
    end = 7;
    ck_assert(!range_end(LARGEST - 511, 512, &end));
    ck_assert(!range_end(LARGEST + 1, 0, &end));
    ck_assert_uint_eq(end, 7);
}
END_TEST

START_TEST(end_refuses_sums_that_wrap)
{
    uint64_t end = 7;

    ck_assert(!range_end(UINT64_MAX, 1, &end));
    ck_assert(!range_end(1, UINT64_MAX, &end));
    ck_assert(!range_end(UINT64_MAX, UINT64_MAX, &end));
    ck_assert(!range_end(LARGEST + 1, LARGEST + 1, &end));
    ck_assert_uint_eq(end, 7);
}
END_TEST

START_TEST(within_takes_the_last_byte_and_not_one_more)
{
    ck_assert(range_within(0, 1024, 1024));
    ck_assert(range_within(512, 512, 1024));
    ck_assert(range_within(1024, 0, 1024));
    ck_assert(!range_within(512, 513, 1024));
    ck_assert(!range_within(1025, 0, 1024));
    ck_assert(!range_within(1024, 512, 1024));
}
END_TEST

START_TEST(within_is_not_fooled_by_overflow)
{
    ck_assert(!range_within(UINT64_MAX - 511, 1024, 1024));
    ck_assert(!range_within(512, UINT64_MAX - 511, 1024));
    ck_assert(!range_within(LARGEST + 1, 0, UINT64_MAX));
}
END_TEST

START_TEST(neighbours_do_not_overlap)
{
    ck_assert(!range_overlap(0, 512, 512, 512));
    ck_assert(!range_overlap(512, 512, 0, 512));
    ck_assert(range_overlap(0, 513, 512, 512));
    ck_assert(range_overlap(512, 512, 0, 513));
}
END_TEST

START_TEST(inner_and_equal_ranges_overlap)
{
    ck_assert(range_overlap(0, 4096, 512, 512));
    ck_assert(range_overlap(512, 512, 0, 4096));
    ck_assert(range_overlap(512, 512, 512, 512));
}
END_TEST

START_TEST(empty_ranges_overlap_nothing)
{
    ck_assert(!range_overlap(512, 0, 0, 4096));
    ck_assert(!range_overlap(0, 4096, 512, 0));
    ck_assert(!range_overlap(512, 0, 512, 0));
}
END_TEST

START_TEST(overlap_at_the_top_does_not_wrap)
{
    ck_assert(range_overlap(UINT64_MAX - 1, 2, UINT64_MAX, UINT64_MAX));
    ck_assert(!range_overlap(UINT64_MAX, 512, 0, 512));
    ck_assert(!range_overlap(0, 512, UINT64_MAX, 512));
}
END_TEST

START_TEST(rounding)
{
    uint64_t value = 7;

    ck_assert_uint_eq(range_round_down(1023, 512), 512);
    ck_assert_uint_eq(range_round_down(1024, 512), 1024);
    ck_assert_uint_eq(range_round_down(UINT64_MAX, 4096), UINT64_MAX - 4095);
    ck_assert(range_round_up(513, 512, &value));
    ck_assert_uint_eq(value, 1024);
    ck_assert(range_round_up(512, 512, &value));
    ck_assert_uint_eq(value, 512);
    ck_assert(range_round_up(0, 65536, &value));
    ck_assert_uint_eq(value, 0);
}
END_TEST

START_TEST(round_up_refuses_what_does_not_fit)
{
    uint64_t value = 7;

    ck_assert(!range_round_up(UINT64_MAX, 512, &value));
    ck_assert(!range_round_up(UINT64_MAX - 510, 512, &value));
    ck_assert_uint_eq(value, 7);
    ck_assert(range_round_up(UINT64_MAX - 511, 512, &value));
    ck_assert_uint_eq(value, UINT64_MAX - 511);
}
END_TEST

START_TEST(alignment)
{
    ck_assert(range_is_aligned(0, 512));
    ck_assert(range_is_aligned(1024, 512));
    ck_assert(!range_is_aligned(1025, 512));
    ck_assert(!range_is_aligned(512, 4096));
    ck_assert(range_is_aligned(3, 1));
}
END_TEST

START_TEST(sector_sizes_are_powers_of_two_in_bounds)
{
    static const uint64_t good[] = {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
    static const uint64_t bad[] = {0, 1, 256, 511, 513, 768, 4095, 65535, 131072, UINT64_MAX};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(range_is_sector_size(good[i]), "%lu", (unsigned long)good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!range_is_sector_size(bad[i]), "%lu", (unsigned long)bad[i]);
    ck_assert(!range_is_sector_size((1ULL << 32) + 512));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("range");
    TCase *tests = tcase_create("range");

    tcase_add_test(tests, end_is_the_sum);
    tcase_add_test(tests, end_reaches_the_largest_offset_and_no_further);
    tcase_add_test(tests, end_refuses_sums_that_wrap);
    tcase_add_test(tests, within_takes_the_last_byte_and_not_one_more);
    tcase_add_test(tests, within_is_not_fooled_by_overflow);
    tcase_add_test(tests, neighbours_do_not_overlap);
    tcase_add_test(tests, inner_and_equal_ranges_overlap);
    tcase_add_test(tests, empty_ranges_overlap_nothing);
    tcase_add_test(tests, overlap_at_the_top_does_not_wrap);
    tcase_add_test(tests, rounding);
    tcase_add_test(tests, round_up_refuses_what_does_not_fit);
    tcase_add_test(tests, alignment);
    tcase_add_test(tests, sector_sizes_are_powers_of_two_in_bounds);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
