/* SPDX-License-Identifier: MIT */
/*
 * `ls`: which devices the daemon has open, and in what state they are.
 */
#include "client/cli/cli.h"
#include "client/cli/find.h"
#include "client/cli/report.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum device_column {
    DEVICE_NUMBER,
    DEVICE_PATH,
    DEVICE_KIND,
    DEVICE_SIZE,
    DEVICE_MODE,
    DEVICE_CACHING,
    DEVICE_LOCK,
    DEVICE_SESSIONS,
    DEVICE_IN_FLIGHT,
    DEVICE_UNSYNCED,
    DEVICE_STATE,
    DEVICE_FAILED,
    DEVICE_MAJOR,
    DEVICE_MINOR,
    DEVICE_INODE,
    DEVICE_GENERATION,
    DEVICE_GRANULE,
    DEVICE_DISCARD,
    DEVICE_IO_POLICY,
    DEVICE_READS,
    DEVICE_WRITES,
    DEVICE_FLUSHES,
    DEVICE_DISCARDS,
    DEVICE_ZEROES,
    DEVICE_READ_BYTES,
    DEVICE_WRITTEN_BYTES,
    DEVICE_ERRORS,
    DEVICE_SYNCS_ISSUED,
    DEVICE_FLUSHES_ELIDED,
    DEVICE_FLUSHES_SHARED,
    DEVICE_LOCKS,
    DEVICE_LOCK_WAITERS,
    DEVICE_COLUMNS,
};

static const struct table_column DEVICE_TABLE[DEVICE_COLUMNS] = {
    [DEVICE_NUMBER] = {"device", "DEV", TABLE_NUMBER},
    [DEVICE_PATH] = {"path", "PATH", TABLE_TEXT},
    [DEVICE_KIND] = {"kind", "KIND", TABLE_TEXT},
    [DEVICE_SIZE] = {"size_bytes", "SIZE", TABLE_BYTES},
    [DEVICE_MODE] = {"mode", "MODE", TABLE_TEXT},
    [DEVICE_CACHING] = {"caching", "CACHING", TABLE_TEXT},
    [DEVICE_LOCK] = {"lock", "LOCK", TABLE_TEXT},
    [DEVICE_SESSIONS] = {"sessions", "SESSIONS", TABLE_NUMBER},
    [DEVICE_IN_FLIGHT] = {"in_flight", "IN-FLIGHT", TABLE_NUMBER},
    [DEVICE_UNSYNCED] = {"unsynced", "UNFLUSHED", TABLE_BOOL},
    [DEVICE_STATE] = {NULL, "STATE", TABLE_TEXT},
    [DEVICE_FAILED] = {"failed", NULL, TABLE_BOOL},
    [DEVICE_MAJOR] = {"major", NULL, TABLE_NUMBER},
    [DEVICE_MINOR] = {"minor", NULL, TABLE_NUMBER},
    [DEVICE_INODE] = {"inode", NULL, TABLE_NUMBER},
    [DEVICE_GENERATION] = {"generation", NULL, TABLE_NUMBER},
    [DEVICE_GRANULE] = {"granule_bytes", NULL, TABLE_NUMBER},
    [DEVICE_DISCARD] = {"discard", NULL, TABLE_TEXT},
    [DEVICE_IO_POLICY] = {"io_policy", NULL, TABLE_TEXT},
    [DEVICE_READS] = {"reads", NULL, TABLE_NUMBER},
    [DEVICE_WRITES] = {"writes", NULL, TABLE_NUMBER},
    [DEVICE_FLUSHES] = {"flushes", NULL, TABLE_NUMBER},
    [DEVICE_DISCARDS] = {"discards", NULL, TABLE_NUMBER},
    [DEVICE_ZEROES] = {"zeroes", NULL, TABLE_NUMBER},
    [DEVICE_READ_BYTES] = {"read_bytes", NULL, TABLE_NUMBER},
    [DEVICE_WRITTEN_BYTES] = {"written_bytes", NULL, TABLE_NUMBER},
    [DEVICE_ERRORS] = {"errors", NULL, TABLE_NUMBER},
    [DEVICE_SYNCS_ISSUED] = {"syncs_issued", NULL, TABLE_NUMBER},
    [DEVICE_FLUSHES_ELIDED] = {"flushes_elided", NULL, TABLE_NUMBER},
    [DEVICE_FLUSHES_SHARED] = {"flushes_shared", NULL, TABLE_NUMBER},
    [DEVICE_LOCKS] = {"locks", NULL, TABLE_NUMBER},
    [DEVICE_LOCK_WAITERS] = {"lock_waiters", NULL, TABLE_NUMBER},
};

static void device_fill(struct table *table, const struct blkd_device_entry *device)
{
    table_set_number(table, DEVICE_NUMBER, device->device_number);
    table_set_text(table, DEVICE_PATH, device->path);
    table_set_text(table, DEVICE_KIND, words_kind(device->kind));
    table_set_number(table, DEVICE_SIZE, device->size_bytes);
    table_set_text(table, DEVICE_MODE, words_mode(device->read_write));
    table_set_text(table, DEVICE_CACHING, words_caching(device->direct));
    table_set_text(table, DEVICE_LOCK, words_lock(device->lock));
    table_set_number(table, DEVICE_LOCKS, device->locks);
    table_set_number(table, DEVICE_LOCK_WAITERS, device->lock_waiters);
    table_set_number(table, DEVICE_SESSIONS, device->sessions);
    table_set_number(table, DEVICE_IN_FLIGHT, device->in_flight);
    table_set_bool(table, DEVICE_UNSYNCED, device->unsynced);
    table_set_text(table, DEVICE_STATE, device->failed ? "FAILED" : "ok");
    table_set_bool(table, DEVICE_FAILED, device->failed);
    table_set_number(table, DEVICE_MAJOR, device->major);
    table_set_number(table, DEVICE_MINOR, device->minor);
    table_set_number(table, DEVICE_INODE, device->inode);
    table_set_number(table, DEVICE_GENERATION, device->generation);
    table_set_number(table, DEVICE_GRANULE, device->granule_bytes);
    table_set_text(table, DEVICE_DISCARD, words_discard(device->discard));
    table_set_text(table, DEVICE_IO_POLICY, device->io_policy);
}

static void device_fill_counters(struct table *table, const struct blkd_counters *counters)
{
    table_set_number(table, DEVICE_READS, counters->reads);
    table_set_number(table, DEVICE_WRITES, counters->writes);
    table_set_number(table, DEVICE_FLUSHES, counters->flushes);
    table_set_number(table, DEVICE_DISCARDS, counters->discards);
    table_set_number(table, DEVICE_ZEROES, counters->zeroes);
    table_set_number(table, DEVICE_READ_BYTES, counters->read_bytes);
    table_set_number(table, DEVICE_WRITTEN_BYTES, counters->written_bytes);
    table_set_number(table, DEVICE_ERRORS, counters->errors);
    table_set_number(table, DEVICE_SYNCS_ISSUED, counters->syncs_issued);
    table_set_number(table, DEVICE_FLUSHES_ELIDED, counters->flushes_elided);
    table_set_number(table, DEVICE_FLUSHES_SHARED, counters->flushes_shared);
}

int cmd_ls(struct cli *cli)
{
    CLEANUP_DEVICES struct blkd_device_list *list = NULL;
    CLEANUP_TABLE struct table *table = NULL;
    int error;
    int code = cli_connect(cli);

    if (code != CLI_OK)
        return code;
    error = blkd_list_devices(cli->connection, &list);
    if (error)
        return report_library(cli, error);
    table = cli_table_new(cli, "devices", DEVICE_TABLE, DEVICE_COLUMNS, TABLE_ROWS);
    if (!table)
        return CLI_FAILED;
    for (size_t i = 0; i < list->count; i++) {
        table_add_row(table);
        device_fill(table, list->entries[i]);
        device_fill_counters(table, &list->entries[i]->counters);
    }
    return cli_table_print(cli, table);
}
