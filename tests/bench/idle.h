/* SPDX-License-Identifier: MIT */
/*
 * Connections that do nothing, beside those that are measured, and what they cost the server.
 * Helper processes hold them: as many as their descriptors ask for. They end with this process,
 * however that ends.
 */
#ifndef BLKD_BENCH_IDLE_H
#define BLKD_BENCH_IDLE_H

#include <stdbool.h>

#include "tests/bench/options.h"
#include "tests/bench/process.h"

/* The server with nobody but the idle ones, against what it was before they came. */
struct idle_cost {
    bool known; /* --server-pid was given */
    struct process_memory before;
    struct process_memory after;
    double server_cpu_percent; /* of one CPU */
};

struct idle;

/* Connects options->idle times to the target and looks at the server for a second. Returns 0, or a
 * negative errno after a message on stderr. */
int idle_start(const struct bench_options *options, struct idle_cost *ret_cost,
               struct idle **ret_idle);
/* They leave without a word, as a process that dies. */
struct idle *idle_stop(struct idle *idle);

#endif
