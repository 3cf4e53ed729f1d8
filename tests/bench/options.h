/* SPDX-License-Identifier: MIT */
/* What blkd-bench was asked to do: its command line, checked. */
#ifndef BLKD_BENCH_OPTIONS_H
#define BLKD_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/bench/target.h"

enum buffers {
    BUFFERS_DEFAULT, /* only until the options are complete */
    BUFFERS_ARENA,   /* blkd_buffer_alloc's, in memory that the daemon shares */
    BUFFERS_FOREIGN, /* the program's own */
};

struct bench_options {
    const char *target_text; /* as given: "direct:disk.img" */
    const struct target_type *target;
    const char *address;
    const char *tier; /* NULL: not said */
    const char *socket;
    enum workload_type workload;
    uint32_t block_bytes;
    unsigned int depth;
    unsigned int clients;
    unsigned int idle; /* connections beside the clients */
    enum buffers buffers;
    double seconds;
    double warmup_seconds;
    uint64_t seed;
    int busy_poll_us; /* -1: libblkd's default */
    pid_t server_pid; /* 0: none */
    bool processes;
    bool idle_open; /* each of the idle ones has the device open */
    bool o_direct;
    bool verify;
    bool json;
    bool calibrate;
    bool no_calibration;
};

enum { OPTIONS_EXIT = 1 };

/* Returns 0; OPTIONS_EXIT after --help; or -EINVAL after a message on stderr. The strings in
 * *ret_options are those of `argv`. */
int options_parse(int argc, char **argv, struct bench_options *ret_options);

#endif
