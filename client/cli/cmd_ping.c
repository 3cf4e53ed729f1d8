/* SPDX-License-Identifier: MIT */
/*
 * `ping`: how long a round trip to the daemon takes, or with a device a read of one sector by the
 * tier that all data uses; and which daemon answers.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/cli/report.h"
#include "client/cli/target.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum ping_column {
    PING_VERSION,
    PING_PID,
    PING_ENGINE,
    PING_WORKERS,
    PING_BUSY_POLL,
    PING_BUSY_POLL_TEXT,
    PING_MAX_IO,
    PING_PATH,
    PING_TIER,
    PING_COUNT,
    PING_TIMES,
    PING_MIN,
    PING_MEDIAN,
    PING_MAX,
    PING_COLUMNS,
};

static const struct table_column PING_TABLE[PING_COLUMNS] = {
    [PING_VERSION] = {"version", "daemon version", TABLE_TEXT},
    [PING_PID] = {"pid", "pid", TABLE_NUMBER},
    [PING_ENGINE] = {"engine", "engine", TABLE_TEXT},
    [PING_WORKERS] = {"workers", "workers", TABLE_NUMBER},
    [PING_BUSY_POLL] = {"busy_poll_us", NULL, TABLE_NUMBER},
    [PING_BUSY_POLL_TEXT] = {NULL, "busy polling", TABLE_TEXT},
    [PING_MAX_IO] = {"max_io_bytes", "largest I/O", TABLE_BYTES},
    [PING_PATH] = {"path", "device", TABLE_TEXT},
    [PING_TIER] = {"tier", "tier", TABLE_TEXT},
    [PING_COUNT] = {"count", "round trips", TABLE_NUMBER},
    [PING_TIMES] = {NULL, "min/median/max", TABLE_TEXT},
    [PING_MIN] = {"min_us", NULL, TABLE_NUMBER},
    [PING_MEDIAN] = {"median_us", NULL, TABLE_NUMBER},
    [PING_MAX] = {"max_us", NULL, TABLE_NUMBER},
};

static uint64_t ping_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Waits for `interval_ms`, on the connection, so that its loss is noticed. */
static int ping_pause(struct cli *cli, uint64_t interval_ms)
{
    uint64_t until_ns = ping_now_ns() + interval_ms * 1000000;
    uint64_t now_ns;

    while ((now_ns = ping_now_ns()) < until_ns) {
        int done = blkd_dispatch(cli->connection, (int)((until_ns - now_ns + 999999) / 1000000));

        if (done < 0 && done != -EINTR)
            return report_errno(cli, done, "lost the connection between two round trips");
    }
    return CLI_OK;
}

/* What is measured: an empty request, or a read of one sector. */
struct ping {
    struct target target; /* no device: an empty request */
    struct iovec buffer;
};

static int ping_trip(struct cli *cli, const struct ping *ping)
{
    if (!ping->target.device)
        return blkd_ping(cli->connection);
    return blkd_read(ping->target.device, 0, &ping->buffer, 1);
}

/* The first read is not measured: it fills the page cache and sets up the rings. */
static int ping_open(struct cli *cli, struct ping *ping)
{
    int error;
    int code;

    if (cli->options.operand_count == 0)
        return cli_connect(cli);
    code = target_open(cli, BLKD_ACCESS_READ_ONLY, &ping->target);
    if (code != CLI_OK)
        return code;
    ping->buffer.iov_len = ping->target.info.sector_size;
    error = blkd_buffer_alloc(cli->connection, ping->buffer.iov_len, &ping->buffer.iov_base);
    if (!error)
        error = ping_trip(cli, ping);
    return error ? report_library(cli, error) : CLI_OK;
}

static int ping_measure(struct cli *cli, const struct ping *ping, uint64_t *times_ns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t start_ns;
        int code = i > 0 ? ping_pause(cli, cli->options.interval_ms.value) : CLI_OK;
        int error;

        if (code != CLI_OK)
            return code;
        start_ns = ping_now_ns();
        error = ping_trip(cli, ping);
        if (error)
            return report_library(cli, error);
        times_ns[i] = ping_now_ns() - start_ns;
    }
    return CLI_OK;
}

static int ping_compare(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return (*a > *b) - (*a < *b);
}

static void ping_fill_times(struct table *table, uint64_t *times_ns, size_t count)
{
    uint64_t lower_ns;
    uint64_t upper_ns;
    double min_us;
    double median_us;
    double max_us;

    qsort(times_ns, count, sizeof(*times_ns), ping_compare);
    min_us = (double)times_ns[0] / 1000;
    lower_ns = times_ns[(count - 1) / 2];
    upper_ns = times_ns[count / 2];
    median_us = (double)(lower_ns + upper_ns) / 2000;
    max_us = (double)times_ns[count - 1] / 1000;
    table_set_number(table, PING_COUNT, count);
    table_set_format(table, PING_TIMES, "%.1f / %.1f / %.1f us", min_us, median_us, max_us);
    table_set_decimal(table, PING_MIN, min_us);
    table_set_decimal(table, PING_MEDIAN, median_us);
    table_set_decimal(table, PING_MAX, max_us);
}

static void ping_fill_server(struct table *table, const struct blkd_server_info *server)
{
    table_set_text(table, PING_VERSION, server->version);
    table_set_number(table, PING_PID, server->pid);
    table_set_text(table, PING_ENGINE, server->engine);
    table_set_number(table, PING_WORKERS, server->workers);
    table_set_number(table, PING_BUSY_POLL, server->busy_poll_us);
    if (server->busy_poll_us == 0)
        table_set_text(table, PING_BUSY_POLL_TEXT, "off");
    else
        table_set_format(table, PING_BUSY_POLL_TEXT, "up to %u us", server->busy_poll_us);
    table_set_number(table, PING_MAX_IO, server->max_io_bytes);
}

static int ping_fill_tier(struct cli *cli, struct table *table, const struct ping *ping)
{
    enum blkd_tier tier = BLKD_TIER_SOCKET;
    int error = blkd_get_tier(cli->connection, &tier);

    if (error)
        return report_library(cli, error);
    table_set_text(table, PING_TIER, words_tier(ping->target.device && tier == BLKD_TIER_RING));
    if (ping->target.device)
        table_set_text(table, PING_PATH, ping->target.config->path);
    return CLI_OK;
}

static void cleanup_ping(struct ping *ping)
{
    target_close(&ping->target);
}

int cmd_ping(struct cli *cli)
{
    CLEANUP(cleanup_ping) struct ping ping = {0};
    size_t count = (size_t)cli->options.ping_count.value;
    CLEANUP_FREE uint64_t *times_ns = NULL;
    CLEANUP_TABLE struct table *table = NULL;
    struct blkd_server_info server;
    int error;
    int code;

    if (count == 0)
        return report_usage(cli, "--count must be at least 1");
    times_ns = calloc(count, sizeof(*times_ns));
    table = cli_table_new(cli, "ping", PING_TABLE, PING_COLUMNS, TABLE_RECORD);
    if (!table)
        return CLI_FAILED;
    if (!times_ns)
        return report_errno(cli, -ENOMEM, "--count %zu", count);
    code = ping_open(cli, &ping);
    if (code != CLI_OK)
        return code;
    error = blkd_get_server_info(cli->connection, &server);
    if (error)
        return report_library(cli, error);
    code = ping_measure(cli, &ping, times_ns, count);
    if (code != CLI_OK)
        return code;
    table_add_row(table);
    ping_fill_server(table, &server);
    code = ping_fill_tier(cli, table, &ping);
    if (code != CLI_OK)
        return code;
    ping_fill_times(table, times_ns, count);
    return cli_table_print(cli, table);
}
