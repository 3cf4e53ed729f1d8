/* SPDX-License-Identifier: MIT */
/*
 * `sessions`: who has which device open.
 */
#include "client/cli/cli.h"
#include "client/cli/find.h"
#include "client/cli/report.h"
#include "client/cli/user.h"
#include "client/cli/when.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum session_column {
    SESSION_NUMBER,
    SESSION_PID,
    SESSION_UID,
    SESSION_GID,
    SESSION_USER,
    SESSION_COMMAND,
    SESSION_CLIENT,
    SESSION_DEVICE,
    SESSION_PATH,
    SESSION_PATH_TEXT,
    SESSION_PATH_KIND,
    SESSION_MODE,
    SESSION_CACHING,
    SESSION_LOCK,
    SESSION_SYNC,
    SESSION_TIER,
    SESSION_AGE,
    SESSION_AGE_SECONDS,
    SESSION_OPENED,
    SESSION_IN_FLIGHT,
    SESSION_READS,
    SESSION_WRITES,
    SESSION_FLUSHES,
    SESSION_DISCARDS,
    SESSION_ZEROES,
    SESSION_READ_BYTES,
    SESSION_WRITTEN_BYTES,
    SESSION_ERRORS,
    SESSION_SECTOR_SIZE,
    SESSION_CONNECTION,
    SESSION_PURPOSE,
    SESSION_UNSYNCED,
    SESSION_UNSYNCED_SINCE,
    SESSION_LOCK_LOST,
    SESSION_ARENA,
    SESSION_COLUMNS,
};

static const struct table_column SESSION_TABLE[SESSION_COLUMNS] = {
    [SESSION_NUMBER] = {"session", "SESSION", TABLE_NUMBER},
    [SESSION_PID] = {"pid", "PID", TABLE_NUMBER},
    [SESSION_UID] = {"uid", NULL, TABLE_NUMBER},
    [SESSION_GID] = {"gid", NULL, TABLE_NUMBER},
    [SESSION_USER] = {"user", "USER", TABLE_TEXT},
    [SESSION_COMMAND] = {"command", "COMMAND", TABLE_TEXT},
    [SESSION_CLIENT] = {"client_name", NULL, TABLE_TEXT},
    [SESSION_DEVICE] = {"device", "DEV", TABLE_NUMBER},
    [SESSION_PATH] = {"path", NULL, TABLE_TEXT},
    [SESSION_PATH_TEXT] = {NULL, "PATH", TABLE_TEXT},
    [SESSION_PATH_KIND] = {"path_kind", NULL, TABLE_TEXT},
    [SESSION_MODE] = {"mode", "MODE", TABLE_TEXT},
    [SESSION_CACHING] = {"caching", NULL, TABLE_TEXT},
    [SESSION_LOCK] = {"lock", "LOCK", TABLE_TEXT},
    [SESSION_SYNC] = {"sync", "SYNC", TABLE_TEXT},
    [SESSION_TIER] = {"tier", "TIER", TABLE_TEXT},
    [SESSION_AGE] = {NULL, "AGE", TABLE_TEXT},
    [SESSION_AGE_SECONDS] = {"age_seconds", NULL, TABLE_NUMBER},
    [SESSION_OPENED] = {"opened_unix_ms", NULL, TABLE_NUMBER},
    [SESSION_IN_FLIGHT] = {"in_flight", NULL, TABLE_NUMBER},
    [SESSION_READS] = {"reads", "READS", TABLE_NUMBER},
    [SESSION_WRITES] = {"writes", "WRITES", TABLE_NUMBER},
    [SESSION_FLUSHES] = {"flushes", NULL, TABLE_NUMBER},
    [SESSION_DISCARDS] = {"discards", NULL, TABLE_NUMBER},
    [SESSION_ZEROES] = {"zeroes", NULL, TABLE_NUMBER},
    [SESSION_READ_BYTES] = {"read_bytes", NULL, TABLE_NUMBER},
    [SESSION_WRITTEN_BYTES] = {"written_bytes", NULL, TABLE_NUMBER},
    [SESSION_ERRORS] = {"errors", NULL, TABLE_NUMBER},
    [SESSION_SECTOR_SIZE] = {"sector_size", NULL, TABLE_NUMBER},
    [SESSION_CONNECTION] = {"connection", NULL, TABLE_NUMBER},
    [SESSION_PURPOSE] = {"purpose", "PURPOSE", TABLE_TEXT},
    [SESSION_UNSYNCED] = {"unsynced_changes", NULL, TABLE_NUMBER},
    [SESSION_UNSYNCED_SINCE] = {"unsynced_since_unix_ms", NULL, TABLE_NUMBER},
    [SESSION_LOCK_LOST] = {"lock_lost", NULL, TABLE_BOOL},
    [SESSION_ARENA] = {"arena_bytes", NULL, TABLE_NUMBER},
};

static void cleanup_session_list(struct blkd_session_list **list)
{
    if (*list)
        blkd_session_list_free(*list);
}

static void session_fill_age(struct table *table, const struct blkd_session_entry *session)
{
    uint64_t seconds = when_age_seconds(session->opened_unix_ms);
    char age[WHEN_TEXT_MAX];

    when_format_age(seconds, age);
    table_set_text(table, SESSION_AGE, age);
    table_set_number(table, SESSION_AGE_SECONDS, seconds);
    table_set_number(table, SESSION_OPENED, session->opened_unix_ms);
}

static void session_fill_peer(struct table *table, const struct blkd_session_entry *session)
{
    char user[USER_TEXT_MAX];

    table_set_number(table, SESSION_PID, session->pid);
    table_set_number(table, SESSION_UID, session->uid);
    table_set_number(table, SESSION_GID, session->gid);
    user_format(session->uid, user);
    table_set_text(table, SESSION_USER, user);
    table_set_text(table, SESSION_COMMAND, session->command);
    table_set_text(table, SESSION_CLIENT, session->client_name);
    table_set_number(table, SESSION_CONNECTION, session->connection_number);
}

static void session_fill(struct table *table, const struct blkd_session_entry *session)
{
    table_set_number(table, SESSION_NUMBER, session->session_number);
    table_set_number(table, SESSION_DEVICE, session->device_number);
    table_set_text(table, SESSION_PATH, session->path);
    table_set_format(table, SESSION_PATH_TEXT, "%s%s", session->path,
                     session->path_kind == BLKD_PATH_LABEL ? " (unverified)" : "");
    if (session->path_kind != BLKD_PATH_UNKNOWN)
        table_set_text(table, SESSION_PATH_KIND,
                       session->path_kind == BLKD_PATH_VERIFIED ? "verified" : "label");
    table_set_text(table, SESSION_MODE, words_mode(session->read_write));
    table_set_text(table, SESSION_CACHING, words_caching(session->direct));
    table_set_text(table, SESSION_LOCK, words_lock(session->lock));
    table_set_bool(table, SESSION_LOCK_LOST, session->lock_lost);
    table_set_text(table, SESSION_PURPOSE, session->purpose);
    table_set_number(table, SESSION_UNSYNCED, session->unsynced_changes);
    table_set_number(table, SESSION_UNSYNCED_SINCE, session->unsynced_since_unix_ms);
    table_set_text(table, SESSION_SYNC, words_sync(session->sync));
    table_set_text(table, SESSION_TIER, words_tier(session->ring));
    table_set_number(table, SESSION_ARENA, session->arena_bytes);
    table_set_number(table, SESSION_SECTOR_SIZE, session->sector_size);
    table_set_number(table, SESSION_IN_FLIGHT, session->in_flight);
    table_set_number(table, SESSION_READS, session->counters.reads);
    table_set_number(table, SESSION_WRITES, session->counters.writes);
    table_set_number(table, SESSION_FLUSHES, session->counters.flushes);
    table_set_number(table, SESSION_DISCARDS, session->counters.discards);
    table_set_number(table, SESSION_ZEROES, session->counters.zeroes);
    table_set_number(table, SESSION_READ_BYTES, session->counters.read_bytes);
    table_set_number(table, SESSION_WRITTEN_BYTES, session->counters.written_bytes);
    table_set_number(table, SESSION_ERRORS, session->counters.errors);
}

int cmd_sessions(struct cli *cli)
{
    CLEANUP(cleanup_session_list) struct blkd_session_list *list = NULL;
    CLEANUP_TABLE struct table *table = NULL;
    uint64_t device = 0;
    int error;
    int code = find_asked_device(cli, &device);

    if (code != CLI_OK)
        return code;
    error = blkd_list_sessions(cli->connection, device, &list);
    if (error)
        return report_library(cli, error);
    table = cli_table_new(cli, "sessions", SESSION_TABLE, SESSION_COLUMNS, TABLE_ROWS);
    if (!table)
        return CLI_FAILED;
    for (size_t i = 0; i < list->count; i++) {
        table_add_row(table);
        session_fill(table, list->entries[i]);
        session_fill_peer(table, list->entries[i]);
        session_fill_age(table, list->entries[i]);
    }
    return cli_table_print(cli, table);
}
