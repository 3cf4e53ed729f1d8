/* SPDX-License-Identifier: MIT */
#include "client/cli/lock_request.h"

#include <errno.h>

#include "client/cli/report.h"

struct blkd_lock_request lock_request_from_options(const struct options *options, int otherwise_ms)
{
    struct blkd_lock_request request = BLKD_LOCK_REQUEST_INIT;

    if (options->shared)
        request.mode = BLKD_LOCK_SHARED;
    if (options->range.given) {
        request.first_sector = options->range.first;
        request.count_sectors = options->range.count;
    }
    request.wait_ms = otherwise_ms;
    if (options->wait_ms.given)
        request.wait_ms = options->wait_ms.value == OPTIONS_WAIT_FOREVER
                              ? BLKD_WAIT_FOREVER
                              : (int)options->wait_ms.value; /* at most a day */
    request.isolate = options->isolate;
    return request;
}

int lock_request_report(const struct cli *cli, int error)
{
    int code = report_library(cli, error);

    return error == -ETIMEDOUT ? CLI_BUSY : code;
}
