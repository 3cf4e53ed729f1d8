/* SPDX-License-Identifier: MIT */
/* The results, for a reader or as JSON. */
#ifndef BLKD_BENCH_REPORT_H
#define BLKD_BENCH_REPORT_H

#include "tests/bench/calibrate.h"
#include "tests/bench/client.h"

/* All clients together. */
struct summary {
    double iops;
    double bytes_per_second;
    double cpu_us_per_op;
    double server_cpu_us_per_op; /* negative: not asked for */
    uint64_t failed_ops;
    struct histogram latency_ns;
};

void summary_make(const struct bench_options *options, const struct client_result *results,
                  struct summary *ret_summary);

void report_plain(const struct bench_options *options, const struct summary *summary);
/* Either of `summary` and `calibration` may be NULL. */
void report_json(const struct bench_options *options, const struct summary *summary,
                 const struct calibration *calibration);
void report_calibration(const struct calibration *calibration);

#endif
