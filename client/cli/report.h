/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong, on stderr, in one line: "blkd-cli: COMMAND: what failed, on what, why; what to
 * do". Functions that return something return the exit code.
 */
#ifndef BLKD_CLI_REPORT_H
#define BLKD_CLI_REPORT_H

#include "client/blkd.h"

struct cli;

/* The command line is wrong. */
__attribute__((format(printf, 2, 3))) int report_usage(const struct cli *cli, const char *format,
                                                       ...);

/* A libblkd call of this thread has just failed with the negative errno `error`. */
int report_library(const struct cli *cli, int error);

/* Something has failed half-way with the negative errno `error`; `message` and
 * `reason` are libblkd's, and the rest says how far it had got. */
__attribute__((format(printf, 5, 6))) int report_partial(const struct cli *cli, int error,
                                                         const char *message,
                                                         enum blkd_reason reason,
                                                         const char *format, ...);

/* Something has failed with the negative errno `error`, whose meaning is added to the text. */
__attribute__((format(printf, 3, 4))) int report_errno(const struct cli *cli, int error,
                                                       const char *format, ...);

/* An output could not be written. In the system's words: libblkd's are about devices. */
int report_output(const struct cli *cli, int error, const char *name);

/* Something has failed for which there is no errno. */
__attribute__((format(printf, 2, 3))) int report_failure(const struct cli *cli, const char *format,
                                                         ...);

__attribute__((format(printf, 2, 3))) void report_warning(const struct cli *cli, const char *format,
                                                          ...);

/* The negative errno of the first flush of stdout that failed before a report; 0: none did. */
int report_stdout_error(void);

#endif
