/* SPDX-License-Identifier: MIT */
/*
 * One client: a target of its own, `depth` operations, and the loop that measures. Everything is
 * used on one thread. The loop allocates nothing and reads the clock twice an operation, whatever
 * the target.
 */
#ifndef BLKD_BENCH_CLIENT_H
#define BLKD_BENCH_CLIENT_H

#include <stdint.h>

#include "tests/bench/histogram.h"
#include "tests/bench/options.h"

#define CLIENT_TIER_MIXED "mixed"

/* Holds no pointers: it lies in memory that processes share. */
struct client_result {
    int error; /* why the client stopped; 0 or a negative errno */
    uint64_t failed_ops;
    char tier[8]; /* that it went by while it was measured; "": the target has none */
    struct histogram latency_ns;
};

/* CLOCK_MONOTONIC. What completes from begin_ns to before end_ns counts: the same window for all
 * clients, or one that hardly ever gets a CPU would count only the time when it had one. */
struct client_window {
    uint64_t begin_ns;
    uint64_t end_ns;
};

struct client;

struct client_window client_window(const struct bench_options *options, uint64_t start_ns);

/* Opens the target as client `index`. Returns 0, or a negative errno after a message on stderr.
 * `options` and `result` outlive the client. */
int client_new(const struct bench_options *options, unsigned int index,
               struct client_result *result, struct client **ret_client);
struct client *client_free(struct client *client);

/* Runs from start_ns (CLOCK_MONOTONIC): the warm-up, the measurement, and the rest of what is in
 * flight. All ends in *result; an operation that fails ends the client after a message. */
void client_measure(struct client *client, uint64_t start_ns);

/* Goes through a sequential workload once. Returns 0 or the error of what failed. */
int client_pass(struct client *client);

#endif
