/* SPDX-License-Identifier: MIT */
/*
 * The device that a command works on: what its argument names, opened as the argument and the
 * options say.
 */
#ifndef BLKD_CLI_TARGET_H
#define BLKD_CLI_TARGET_H

#include <sys/stat.h>

#include "client/cli/cli.h"
#include "client/cli/format.h"

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

/* Closes the device after it was changed; the rest stays. 0, or what blkd_close says. */
int target_close_changed(struct target *target);

uint64_t target_size_bytes(const struct target *target);

/* The same bytes, whatever their names: two nodes of one block device are the same. */
bool target_same_file(const struct stat *a, const struct stat *b);

/* Whether this file is the device. */
bool target_is_file(const struct target *target, const struct stat *status);

/* What the device's first bytes, read through the daemon, say it is. NULL: nothing known, or they
 * could not be read. */
const struct format *target_format(const struct target *target);

/* Warns of a format whose bytes are not the disk's. */
void target_warn_format(struct cli *cli, const struct target *target, const struct format *format);

/* Refuses to change such a device, unless the options allow it. Returns CLI_OK, or reports it and
 * returns the exit code. */
int target_refuse_format(struct cli *cli, const struct target *target);

#define CLEANUP_TARGET CLEANUP(target_close)

#endif
