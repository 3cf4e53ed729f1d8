/* SPDX-License-Identifier: MIT */
/* Log-linear buckets; see histogram.h. */
#include "tests/bench/histogram.h"

/* Values below HISTOGRAM_STEPS have a bucket each; above, the bits after the leading one choose the
 * step within the power of two. */
static unsigned int bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned int)value;
    if (value >> HISTOGRAM_VALUE_BITS)
        return HISTOGRAM_BUCKETS - 1;
    unsigned int shift = 63U - (unsigned int)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return shift * HISTOGRAM_STEPS + (unsigned int)(value >> shift);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(unsigned int bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned int shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t step = bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->buckets[bucket_of(value)]++;
}

void histogram_merge(struct histogram *histogram, const struct histogram *other)
{
    histogram->count += other->count;
    histogram->sum += other->sum;
    if (other->max > histogram->max)
        histogram->max = other->max;
    for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] += other->buckets[i];
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? (double)histogram->sum / (double)histogram->count : 0;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    double wanted = (double)histogram->count * percent / 100;
    uint64_t seen = 0;
    for (unsigned int i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += histogram->buckets[i];
        if (seen && (double)seen >= wanted)
            return bucket_end(i) < histogram->max ? bucket_end(i) : histogram->max;
    }
    return histogram->max;
}
