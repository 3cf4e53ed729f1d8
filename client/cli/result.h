/* SPDX-License-Identifier: MIT */
/* What a command has done, with --json only: commands that print nothing for people use this. */
#ifndef BLKD_CLI_RESULT_H
#define BLKD_CLI_RESULT_H

#include <stddef.h>
#include <stdint.h>

struct cli;

struct result_number {
    const char *key;
    uint64_t value;
};

/* {"NAME": [{"path": PATH, KEY: VALUE, ...}]}, without the path if it is NULL. Returns CLI_OK. */
int result_print(struct cli *cli, const char *name, const char *path,
                 const struct result_number *numbers, size_t count);

#endif
