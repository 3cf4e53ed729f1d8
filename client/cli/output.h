/* SPDX-License-Identifier: MIT */
/*
 * Where `read` writes: stdout or a file. An existing file keeps its contents until output_begin,
 * and is refused if it is the device that is read, or if a session of blkd or another program
 * holds it.
 */
#ifndef BLKD_CLI_OUTPUT_H
#define BLKD_CLI_OUTPUT_H

#include <stdio.h>

#include "client/cli/cli.h"
#include "client/cli/target.h"

struct output {
    FILE *file; /* NULL: not open */
    const char *name;
    bool begun;
    bool replaces;  /* a regular file: what it contains is removed by output_begin */
    bool is_device; /* a block device */
};

/* Opens the output that the options name; `source` is the device that is read. Returns
 * CLI_OK, or reports why not and returns the exit code. */
int output_open(struct cli *cli, const struct target *source, struct output *output);

/* Before the first byte is written, and when it is certain that there is no error before it.
 * Returns 0 or a negative errno. */
int output_begin(struct output *output);

/* Brings everything to the file. Returns 0 or a negative errno. */
int output_finish(struct output *output);

void output_deinit(struct output *output);

#endif
