/* SPDX-License-Identifier: MIT */
/* The lock that a command line asks for, and what to say when it is not to be had. */
#ifndef BLKD_CLI_LOCK_REQUEST_H
#define BLKD_CLI_LOCK_REQUEST_H

#include "client/cli/cli.h"

/* `otherwise_ms` is how long to wait if the options do not say. */
struct blkd_lock_request lock_request_from_options(const struct options *options, int otherwise_ms);

/* A call about locks has just failed with this negative errno: as report_library, but that a lock
 * that was not to be had in time is busy, too. Returns the exit code. */
int lock_request_report(const struct cli *cli, int error);

#endif
