/* SPDX-License-Identifier: MIT */
/*
 * A histogram of latencies that costs no memory and next to no time per value: log-linear buckets,
 * that is, each power of two is cut into HISTOGRAM_STEPS equal ones. A percentile is therefore at
 * most 1/HISTOGRAM_STEPS too high and never too low; count, sum and maximum are exact. Pure; holds
 * no pointers, so that it can lie in memory shared by processes. Zero-initialise it.
 */
#ifndef BLKD_BENCH_HISTOGRAM_H
#define BLKD_BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 6,
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_VALUE_BITS = 40, /* 2^40 ns are 18 minutes; longer ones count in the last bucket */
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS,
};

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* 0 when there are no values. */
double histogram_mean(const struct histogram *histogram);

/* The smallest bucket's upper bound that `percent` (0 to 100) of the values do not exceed, never
 * above the largest value; 0 when there are no values. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
