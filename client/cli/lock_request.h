/* SPDX-License-Identifier: MIT */
/* The lock that a command line requests, and how a failure to get it is reported. */
#ifndef BLKD_CLI_LOCK_REQUEST_H
#define BLKD_CLI_LOCK_REQUEST_H

#include "client/cli/cli.h"
#include "client/cli/target.h"

/* `otherwise_ms` is how long to wait if the options do not say. */
struct blkd_lock_request lock_request_from_options(const struct options *options, int otherwise_ms);

/* Requests the lock, waiting as the request says. Returns CLI_OK, or reports why it was not granted
 * and returns the exit code. From then on the connection's events go to `cli`, until another
 * callback is set. */
int lock_request_take(struct cli *cli, const struct target *target,
                      const struct blkd_lock_request *request, uint64_t *ret_token);

/* A call about locks has just failed with this negative errno. Like report_library, but a time-out
 * counts as busy. Returns the exit code. */
int lock_request_report(const struct cli *cli, int error);

#endif
