/* SPDX-License-Identifier: MIT */
#include "client/cli/lock_request.h"

#include <errno.h>

#include "client/cli/report.h"

struct blkd_lock_request lock_request_from_options(const struct options *options, int otherwise_ms)
{
    struct blkd_lock_request request = {0};

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

static void on_lock_event(void *user_data, const struct blkd_event *event)
{
    struct cli *cli = user_data;

    if (event->type == BLKD_EVENT_SHUTTING_DOWN || event->type == BLKD_EVENT_DISCONNECTED)
        cli->daemon_stops = true;
}

/* Nobody here cancels a wait: the daemon ends it when it stops, or when the session is evicted. An
 * event has said which before the call returned. */
static int lock_request_report_canceled(struct cli *cli, const struct target *target)
{
    if (blkd_dispatch(cli->connection, 0) < 0)
        cli->daemon_stops = true;
    if (!cli->daemon_stops)
        return report_failure(
            cli, "%s: the lock was not granted because an administrator evicted the session",
            target->config->path);
    (void)report_failure(cli, "%s: the lock was not granted because the daemon is stopping",
                         target->config->path);
    return CLI_UNREACHABLE;
}

int lock_request_take(struct cli *cli, const struct target *target,
                      const struct blkd_lock_request *request, uint64_t *ret_token)
{
    int error = blkd_set_event_callback(cli->connection, on_lock_event, cli);

    if (!error)
        error = blkd_lock(target->device, request, ret_token);
    if (error == -ECANCELED)
        return lock_request_report_canceled(cli, target);
    return error ? lock_request_report(cli, error) : CLI_OK;
}

int lock_request_report(const struct cli *cli, int error)
{
    int code = report_library(cli, error);

    return error == -ETIMEDOUT ? CLI_BUSY : code;
}
