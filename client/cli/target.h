/* SPDX-License-Identifier: MIT */
/*
 * The device that a command works on: what its argument names, opened as the argument and the
 * options say.
 */
#ifndef BLKD_CLI_TARGET_H
#define BLKD_CLI_TARGET_H

#include "client/cli/cli.h"

struct target {
    struct blkd_config *config; /* as asked for */
    struct blkd_device *device;
    struct blkd_info info;
};

/*
 * Opens operand 0, with `access` where neither it nor the options say. Returns CLI_OK, or reports
 * why not and returns the exit code, with nothing to close.
 */
int target_open(struct cli *cli, enum blkd_access access, struct target *ret_target);

/* The same without a lock, whatever argument and options say: for commands that take one
 * themselves.
 */
int target_open_unlocked(struct cli *cli, enum blkd_access access, struct target *ret_target);

/* Closes what is open; NULL members are fine. */
void target_close(struct target *target);

uint64_t target_size_bytes(const struct target *target);

#define CLEANUP_TARGET CLEANUP(target_close)

#endif
