/* SPDX-License-Identifier: MIT */
/*
 * The clients together: each on its own thread or in its own process, all beginning at one moment
 * once all are connected, and all measured in one window, however late the scheduler lets each of
 * them run.
 */
#ifndef BLKD_BENCH_RUNNER_H
#define BLKD_BENCH_RUNNER_H

#include "tests/bench/client.h"

/* CPU time within the window, of all threads of all clients and of the server. */
struct run_cost {
    double client_cpu_ns_per_second;
    double server_cpu_ns_per_second; /* negative: not asked for */
};

/* Every client's result in `results`, which lie in memory that processes share. Returns 0 or the
 * first error of any client, after a message on stderr. */
int runners_run(const struct bench_options *options, struct client_result *results,
                struct run_cost *ret_cost);

#endif
