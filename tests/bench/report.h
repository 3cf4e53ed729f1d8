/* SPDX-License-Identifier: MIT */
/* The results, for a reader or as JSON. */
#ifndef BLKD_BENCH_REPORT_H
#define BLKD_BENCH_REPORT_H

#include "tests/bench/calibrate.h"
#include "tests/bench/client.h"
#include "tests/bench/idle.h"
#include "tests/bench/runner.h"

/* All clients together. */
struct summary {
    double iops;
    double bytes_per_second;
    double cpu_us_per_op;
    double server_cpu_us_per_op; /* negative: not asked for */
    uint64_t failed_ops;
    struct histogram latency_ns;
    char tier[8]; /* of all clients: "" without one, or CLIENT_TIER_MIXED */
};

void summary_make(const struct bench_options *options, const struct client_result *results,
                  const struct run_cost *cost, struct summary *ret_summary);

void report_plain(const struct bench_options *options, const struct summary *summary);
void report_idle(const struct bench_options *options, const struct idle_cost *cost);
/* `summary`, `idle` and `calibration` may be NULL; `idle` is part of the summary. */
void report_json(const struct bench_options *options, const struct summary *summary,
                 const struct idle_cost *idle, const struct calibration *calibration);
void report_calibration(const struct calibration *calibration);

#endif
