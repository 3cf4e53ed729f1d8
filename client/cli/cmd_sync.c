/* SPDX-License-Identifier: MIT */
/*
 * `sync status`: which devices have unflushed writes, since when, and what syncs cost.
 * (`sync flush` is the command flush.)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/find.h"
#include "client/cli/report.h"
#include "client/cli/when.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum sync_column {
    SYNC_DEVICE,
    SYNC_PATH,
    SYNC_STATE,
    SYNC_STATE_TEXT,
    SYNC_LEVEL,
    SYNC_UNSYNCED,
    SYNC_UNSYNCED_FOR,
    SYNC_LAST_AGO,
    SYNC_LAST_COST,
    SYNC_LONGEST_COST,
    SYNC_ASKED,
    SYNC_ISSUED,
    SYNC_SHARED,
    SYNC_ELIDED,
    SYNC_UNSYNCED_SINCE,
    SYNC_LAST,
    SYNC_LAST_US,
    SYNC_LONGEST_US,
    SYNC_RUNNING,
    SYNC_WAITING,
    SYNC_BORN,
    SYNC_FAILED,
    SYNC_ERROR,
    SYNC_FAILED_AT,
    SYNC_VOLATILE,
    SYNC_COLUMNS,
};

static const struct table_column SYNC_TABLE[SYNC_COLUMNS] = {
    [SYNC_DEVICE] = {"device", "DEV", TABLE_NUMBER},
    [SYNC_PATH] = {"path", "PATH", TABLE_TEXT},
    [SYNC_STATE] = {"state", NULL, TABLE_TEXT},
    [SYNC_STATE_TEXT] = {NULL, "STATE", TABLE_TEXT},
    [SYNC_LEVEL] = {"level", "LEVEL", TABLE_TEXT},
    [SYNC_UNSYNCED] = {"unsynced_changes", "UNFLUSHED", TABLE_NUMBER},
    [SYNC_UNSYNCED_FOR] = {NULL, "AGE", TABLE_TEXT},
    [SYNC_LAST_AGO] = {NULL, "LAST-SYNC", TABLE_TEXT},
    [SYNC_LAST_COST] = {NULL, "TOOK", TABLE_TEXT},
    [SYNC_LONGEST_COST] = {NULL, "LONGEST", TABLE_TEXT},
    [SYNC_ASKED] = {"flushes_asked", "FLUSHES", TABLE_NUMBER},
    [SYNC_ISSUED] = {"syncs_issued", "SYNCS", TABLE_NUMBER},
    [SYNC_SHARED] = {"flushes_shared", "SHARED", TABLE_NUMBER},
    [SYNC_ELIDED] = {"flushes_elided", "SKIPPED", TABLE_NUMBER},
    [SYNC_UNSYNCED_SINCE] = {"unsynced_since_unix_ms", NULL, TABLE_NUMBER},
    [SYNC_LAST] = {"last_sync_unix_ms", NULL, TABLE_NUMBER},
    [SYNC_LAST_US] = {"last_sync_us", NULL, TABLE_NUMBER},
    [SYNC_LONGEST_US] = {"longest_sync_us", NULL, TABLE_NUMBER},
    [SYNC_RUNNING] = {"running", NULL, TABLE_BOOL},
    [SYNC_WAITING] = {"waiting", NULL, TABLE_NUMBER},
    [SYNC_BORN] = {"unsynced", NULL, TABLE_BOOL},
    [SYNC_FAILED] = {"failed", NULL, TABLE_BOOL},
    [SYNC_ERROR] = {"error", NULL, TABLE_TEXT},
    [SYNC_FAILED_AT] = {"failed_unix_ms", NULL, TABLE_NUMBER},
    [SYNC_VOLATILE] = {"volatile_storage", NULL, TABLE_BOOL},
};

/* The most important first: a failed device is not safe, whatever else is true of it. */
static void sync_fill_condition(struct table *table, const struct blkd_device_entry *device)
{
    const char *key = "safe";
    const char *title = "flushed";

    if (device->failed || device->sync.failed < 0) {
        key = title = "FAILED";
    } else if (device->sync.volatile_storage) {
        key = title = "volatile";
    } else if (device->sync.running) {
        key = title = "syncing";
    } else if (device->unsynced || device->sync.unsynced_changes != 0) {
        key = "unsynced";
        title = "unflushed";
    }
    table_set_text(table, SYNC_STATE, key);
    table_set_text(table, SYNC_STATE_TEXT, title);
}

static void sync_set_age(struct table *table, size_t column, uint64_t unix_ms)
{
    char text[WHEN_TEXT_MAX];

    if (unix_ms == 0)
        return;
    when_format_age(when_age_seconds(unix_ms), text);
    table_set_text(table, column, text);
}

static void sync_set_duration(struct table *table, size_t column, uint64_t us)
{
    char text[WHEN_TEXT_MAX];

    when_format_duration(us, text);
    table_set_text(table, column, text);
}

static void sync_fill_state(struct table *table, const struct blkd_device_entry *device)
{
    const struct blkd_sync_state *sync = &device->sync;

    table_set_number(table, SYNC_DEVICE, device->device_number);
    table_set_text(table, SYNC_PATH, device->path);
    sync_fill_condition(table, device);
    table_set_text(table, SYNC_LEVEL, words_sync(sync->level));
    table_set_number(table, SYNC_UNSYNCED, sync->unsynced_changes);
    sync_set_age(table, SYNC_UNSYNCED_FOR, sync->unsynced_since_unix_ms);
    table_set_number(table, SYNC_UNSYNCED_SINCE, sync->unsynced_since_unix_ms);
    table_set_bool(table, SYNC_BORN, device->unsynced);
    table_set_bool(table, SYNC_FAILED, device->failed || sync->failed < 0);
    if (sync->failed < 0)
        table_set_text(table, SYNC_ERROR, strerrorname_np(-sync->failed));
    table_set_number(table, SYNC_FAILED_AT, sync->failed_unix_ms);
    table_set_bool(table, SYNC_VOLATILE, sync->volatile_storage);
}

static void sync_fill_cost(struct table *table, const struct blkd_device_entry *device)
{
    const struct blkd_sync_state *sync = &device->sync;

    if (sync->last_sync_unix_ms != 0) {
        sync_set_age(table, SYNC_LAST_AGO, sync->last_sync_unix_ms);
        sync_set_duration(table, SYNC_LAST_COST, sync->last_sync_us);
        sync_set_duration(table, SYNC_LONGEST_COST, sync->longest_sync_us);
    }
    table_set_number(table, SYNC_LAST, sync->last_sync_unix_ms);
    table_set_number(table, SYNC_LAST_US, sync->last_sync_us);
    table_set_number(table, SYNC_LONGEST_US, sync->longest_sync_us);
    table_set_bool(table, SYNC_RUNNING, sync->running);
    table_set_number(table, SYNC_WAITING, sync->waiting);
    table_set_number(table, SYNC_ASKED, sync->flushes_asked);
    table_set_number(table, SYNC_ISSUED, device->counters.syncs_issued);
    table_set_number(table, SYNC_SHARED, device->counters.flushes_shared);
    table_set_number(table, SYNC_ELIDED, device->counters.flushes_elided);
}

/* Easily overlooked in a table of many columns. */
static void sync_warn(const struct cli *cli, const struct blkd_device_entry *device)
{
    const struct blkd_sync_state *sync = &device->sync;
    char when[WHEN_TEXT_MAX];

    if (device->failed || sync->failed < 0) {
        when_format(sync->failed_unix_ms, when);
        report_warning(cli,
                       "device %" PRIu64 " (%s) has FAILED: sync error '%s'%s%s; earlier writes "
                       "may be lost; writes and flushes are refused until 'blkd-cli recover'",
                       device->device_number, device->path,
                       blkd_strerror(sync->failed < 0 ? sync->failed : -EIO),
                       sync->failed_unix_ms != 0 ? " at " : "",
                       sync->failed_unix_ms != 0 ? when : "");
    }
    if (sync->volatile_storage)
        report_warning(cli,
                       "device %" PRIu64 " (%s) is on volatile storage; flushed data does not "
                       "survive a power failure",
                       device->device_number, device->path);
}

static int sync_print(struct cli *cli, const struct blkd_device_list *list, uint64_t number)
{
    CLEANUP_TABLE struct table *table =
        cli_table_new(cli, "sync", SYNC_TABLE, SYNC_COLUMNS, TABLE_ROWS);
    int code;

    if (!table)
        return CLI_FAILED;
    for (size_t i = 0; i < list->count; i++) {
        if (number != 0 && list->entries[i]->device_number != number)
            continue;
        table_add_row(table);
        sync_fill_state(table, list->entries[i]);
        sync_fill_cost(table, list->entries[i]);
    }
    code = cli_table_print(cli, table);
    for (size_t i = 0; code == CLI_OK && i < list->count; i++)
        if (number == 0 || list->entries[i]->device_number == number)
            sync_warn(cli, list->entries[i]);
    return code;
}

int cmd_sync_status(struct cli *cli)
{
    CLEANUP_DEVICES struct blkd_device_list *list = NULL;
    uint64_t number = 0;
    int error;
    int code = find_asked_device(cli, &number);

    if (code != CLI_OK)
        return code;
    error = blkd_list_devices(cli->connection, &list);
    if (error)
        return report_library(cli, error);
    return sync_print(cli, list, number);
}
