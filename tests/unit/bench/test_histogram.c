/* SPDX-License-Identifier: MIT */
/* The figures of every benchmark come out of this histogram: exactness where it promises it, and
 * the bound of its error elsewhere. */
#include <check.h>
#include <stdlib.h>

#include "tests/bench/histogram.h"
#include "tests/unit/suite.h"

static struct histogram *histogram_new(void)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));
    ck_assert_ptr_nonnull(histogram);
    return histogram;
}

START_TEST(empty_gives_zeroes)
{
    struct histogram *histogram = histogram_new();
    ck_assert_uint_eq(histogram_percentile(histogram, 50), 0);
    ck_assert_uint_eq(histogram_percentile(histogram, 100), 0);
    ck_assert(histogram_mean(histogram) == 0);
    free(histogram);
}
END_TEST

START_TEST(small_values_are_exact)
{
    struct histogram *histogram = histogram_new();
    for (uint64_t value = 0; value < HISTOGRAM_STEPS; value++)
        histogram_add(histogram, value);
    ck_assert_uint_eq(histogram->count, HISTOGRAM_STEPS);
    ck_assert_uint_eq(histogram_percentile(histogram, 0), 0);
    ck_assert_uint_eq(histogram_percentile(histogram, 50), HISTOGRAM_STEPS / 2 - 1);
    ck_assert_uint_eq(histogram_percentile(histogram, 100), HISTOGRAM_STEPS - 1);
    ck_assert(histogram_mean(histogram) == (HISTOGRAM_STEPS - 1) / 2.0);
    free(histogram);
}
END_TEST

/* A larger value is added so that the answer is the bucket's bound and not the maximum. */
static void check_error_bound(uint64_t value)
{
    struct histogram *histogram = histogram_new();
    histogram_add(histogram, value);
    histogram_add(histogram, value * 4);
    uint64_t answer = histogram_percentile(histogram, 50);
    ck_assert_msg(answer >= value && answer - value <= value / HISTOGRAM_STEPS,
                  "value %llu gave %llu", (unsigned long long)value, (unsigned long long)answer);
    free(histogram);
}

START_TEST(large_values_err_upward_by_one_step_at_most)
{
    for (unsigned int bit = HISTOGRAM_STEP_BITS; bit < HISTOGRAM_VALUE_BITS - 3; bit++) {
        uint64_t power = UINT64_C(1) << bit;
        check_error_bound(power - 1);
        check_error_bound(power);
        check_error_bound(power + 1);
        check_error_bound(power + power / 3);
    }
}
END_TEST

START_TEST(percentiles_of_a_uniform_spread)
{
    struct histogram *histogram = histogram_new();
    for (uint64_t value = 1; value <= 100000; value++)
        histogram_add(histogram, value);
    static const double percents[] = {1, 50, 90, 99, 99.9, 99.99};
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        double exact = percents[i] * 1000;
        double answer = (double)histogram_percentile(histogram, percents[i]);
        ck_assert_msg(answer >= exact && answer <= exact * (1 + 1.0 / HISTOGRAM_STEPS) + 1,
                      "p%g is %g", percents[i], answer);
    }
    ck_assert_uint_eq(histogram_percentile(histogram, 100), 100000);
    ck_assert(histogram_mean(histogram) == 50000.5);
    free(histogram);
}
END_TEST

START_TEST(values_beyond_the_range_keep_the_maximum_exact)
{
    struct histogram *histogram = histogram_new();
    uint64_t huge = UINT64_C(1) << 50;
    histogram_add(histogram, 1);
    histogram_add(histogram, huge);
    ck_assert_uint_eq(histogram->max, huge);
    ck_assert_uint_eq(histogram->buckets[HISTOGRAM_BUCKETS - 1], 1);
    ck_assert_uint_eq(histogram_percentile(histogram, 50), 1);
    ck_assert_uint_eq(histogram_percentile(histogram, 99), huge);
    free(histogram);
}
END_TEST

START_TEST(merging_is_adding_both)
{
    struct histogram *left = histogram_new();
    struct histogram *right = histogram_new();
    struct histogram *both = histogram_new();
    for (uint64_t value = 1; value < 5000; value += 7) {
        histogram_add(value % 2 ? left : right, value * value);
        histogram_add(both, value * value);
    }
    histogram_merge(left, right);
    ck_assert_mem_eq(left, both, sizeof(*both));
    free(left);
    free(right);
    free(both);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *all = tcase_create("histogram");
    tcase_add_test(all, empty_gives_zeroes);
    tcase_add_test(all, small_values_are_exact);
    tcase_add_test(all, large_values_err_upward_by_one_step_at_most);
    tcase_add_test(all, percentiles_of_a_uniform_spread);
    tcase_add_test(all, values_beyond_the_range_keep_the_maximum_exact);
    tcase_add_test(all, merging_is_adding_both);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
