/* SPDX-License-Identifier: MIT */
/*
 * `lock ls`, `lock wait`, `lock break`: list locks and their holders, wait until a lock is
 * available, take a lock away. `lock take` is in cmd_lock_take.c.
 */
#include <errno.h>
#include <inttypes.h>

#include "client/cli/cli.h"
#include "client/cli/find.h"
#include "client/cli/lock_request.h"
#include "client/cli/report.h"
#include "client/cli/result.h"
#include "client/cli/target.h"
#include "client/cli/user.h"
#include "client/cli/when.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum {
    BREAK_WAIT_MS = 10000, /* as --help says */
};

enum lock_column {
    LOCK_DEVICE,
    LOCK_PATH,
    LOCK_STATE,
    LOCK_MODE,
    LOCK_POSITION,
    LOCK_RANGE,
    LOCK_SINCE_TEXT,
    LOCK_SESSION,
    LOCK_PID,
    LOCK_USER,
    LOCK_COMMAND,
    LOCK_PURPOSE,
    LOCK_NUMBER,
    LOCK_WANTED,
    LOCK_OFFSET,
    LOCK_LENGTH,
    LOCK_ISOLATE,
    LOCK_OUTSIDE,
    LOCK_TOKEN,
    LOCK_SINCE,
    LOCK_UID,
    LOCK_COLUMNS,
};

static const struct table_column LOCK_TABLE[LOCK_COLUMNS] = {
    [LOCK_DEVICE] = {"device", "DEV", TABLE_NUMBER},
    [LOCK_PATH] = {"path", "PATH", TABLE_TEXT},
    [LOCK_STATE] = {"state", "STATE", TABLE_TEXT},
    [LOCK_MODE] = {"mode", "MODE", TABLE_TEXT},
    [LOCK_POSITION] = {"position", "POS", TABLE_NUMBER},
    [LOCK_RANGE] = {NULL, "BYTES", TABLE_TEXT},
    [LOCK_SINCE_TEXT] = {NULL, "AGE", TABLE_TEXT},
    [LOCK_SESSION] = {"session", "SESSION", TABLE_NUMBER},
    [LOCK_PID] = {"pid", "PID", TABLE_NUMBER},
    [LOCK_USER] = {"user", "USER", TABLE_TEXT},
    [LOCK_COMMAND] = {"command", "COMMAND", TABLE_TEXT},
    [LOCK_PURPOSE] = {"purpose", "PURPOSE", TABLE_TEXT},
    [LOCK_NUMBER] = {"lock", NULL, TABLE_NUMBER},
    [LOCK_WANTED] = {"wanted", NULL, TABLE_TEXT},
    [LOCK_OFFSET] = {"offset_bytes", NULL, TABLE_NUMBER},
    [LOCK_LENGTH] = {"length_bytes", NULL, TABLE_NUMBER},
    [LOCK_ISOLATE] = {"isolate", NULL, TABLE_BOOL},
    [LOCK_OUTSIDE] = {"waits_outside", NULL, TABLE_BOOL},
    [LOCK_TOKEN] = {"token", NULL, TABLE_NUMBER},
    [LOCK_SINCE] = {"since_unix_ms", NULL, TABLE_NUMBER},
    [LOCK_UID] = {"uid", NULL, TABLE_NUMBER},
};

static void cleanup_lock_list(struct blkd_lock_list **list)
{
    blkd_lock_list_free(*list);
}

/* A lock can be held shared while its upgrade waits. */
static const char *lock_state(const struct blkd_lock_entry *lock)
{
    if (lock->wanted == BLKD_LOCK_NONE)
        return "held";
    if (lock->mode != BLKD_LOCK_NONE)
        return "upgrading";
    return lock->waits_outside ? "waits-outside" : "waits";
}

static void lock_fill_range(struct table *table, const struct blkd_lock_entry *lock)
{
    table_set_number(table, LOCK_OFFSET, lock->offset_bytes);
    table_set_number(table, LOCK_LENGTH, lock->length_bytes);
    if (lock->length_bytes == 0)
        table_set_text(table, LOCK_RANGE, "all");
    else
        table_set_format(table, LOCK_RANGE, "%" PRIu64 "-%" PRIu64, lock->offset_bytes,
                         lock->offset_bytes + lock->length_bytes - 1);
}

static void lock_fill_owner(struct table *table, const struct blkd_lock_entry *lock)
{
    char user[USER_TEXT_MAX];

    user_format(lock->uid, user);
    table_set_number(table, LOCK_SESSION, lock->session_number);
    table_set_number(table, LOCK_PID, lock->pid);
    table_set_number(table, LOCK_UID, lock->uid);
    table_set_text(table, LOCK_USER, user);
    table_set_text(table, LOCK_COMMAND, lock->command);
    table_set_text(table, LOCK_PURPOSE, lock->purpose);
}

static void lock_fill(struct table *table, const struct blkd_lock_entry *lock)
{
    bool waits = lock->wanted != BLKD_LOCK_NONE;
    char age[WHEN_TEXT_MAX];

    when_format_age(when_age_seconds(lock->since_unix_ms), age);
    table_set_number(table, LOCK_NUMBER, lock->lock_number);
    table_set_number(table, LOCK_DEVICE, lock->device_number);
    table_set_text(table, LOCK_PATH, lock->path);
    table_set_text(table, LOCK_STATE, lock_state(lock));
    table_set_text(table, LOCK_MODE, words_lock(waits ? lock->wanted : lock->mode));
    if (waits) {
        table_set_text(table, LOCK_WANTED, words_lock(lock->wanted));
        table_set_number(table, LOCK_POSITION, lock->position);
    }
    table_set_bool(table, LOCK_ISOLATE, lock->isolate);
    table_set_bool(table, LOCK_OUTSIDE, lock->waits_outside);
    if (lock->token != 0)
        table_set_number(table, LOCK_TOKEN, lock->token);
    table_set_text(table, LOCK_SINCE_TEXT, age);
    table_set_number(table, LOCK_SINCE, lock->since_unix_ms);
}

int cmd_lock_ls(struct cli *cli)
{
    CLEANUP(cleanup_lock_list) struct blkd_lock_list *list = NULL;
    CLEANUP_TABLE struct table *table = NULL;
    uint64_t device = 0;
    int error;
    int code = find_asked_device(cli, &device);

    if (code != CLI_OK)
        return code;
    error = blkd_list_locks(cli->connection, device, &list);
    if (error)
        return report_library(cli, error);
    table = cli_table_new(cli, "locks", LOCK_TABLE, LOCK_COLUMNS, TABLE_ROWS);
    if (!table)
        return CLI_FAILED;
    for (size_t i = 0; i < list->count; i++) {
        table_add_row(table);
        lock_fill(table, list->entries[i]);
        lock_fill_range(table, list->entries[i]);
        lock_fill_owner(table, list->entries[i]);
    }
    return cli_table_print(cli, table);
}

/* Queues for the lock like everybody else, so that nobody is overtaken, then releases it. */
int cmd_lock_wait(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    struct blkd_lock_request request = lock_request_from_options(&cli->options, BLKD_WAIT_FOREVER);
    int error;
    int code = target_open_unlocked(cli, BLKD_ACCESS_AUTO, &target);

    if (code != CLI_OK)
        return code;
    code = lock_request_take(cli, &target, &request, NULL);
    if (code != CLI_OK)
        return code;
    error = blkd_unlock(target.device, request.first_sector, request.count_sectors);
    if (error)
        return lock_request_report(cli, error);
    return result_print(cli, "wait", target.config->path, NULL, 0);
}

static const struct table_column BREAK_TABLE[] = {
    {"device", "device", TABLE_NUMBER},
    {"broken", "locks broken", TABLE_NUMBER},
};

int cmd_lock_break(struct cli *cli)
{
    CLEANUP_TABLE struct table *table = NULL;
    const struct options *options = &cli->options;
    int wait_ms = options->wait_ms.given ? (int)options->wait_ms.value : BREAK_WAIT_MS;
    uint64_t device = 0;
    uint32_t broken = 0;
    int error;
    int code = cli_connect(cli);

    if (code == CLI_OK)
        code = find_open_device(cli, options->operands[0], &device);
    if (code != CLI_OK)
        return code;
    error = blkd_break_lock(cli->connection, device, options->session.value, wait_ms, &broken);
    if (error)
        return lock_request_report(cli, error);
    table = cli_table_new(cli, "break", BREAK_TABLE, 2, TABLE_RECORD);
    if (!table)
        return CLI_FAILED;
    table_add_row(table);
    table_set_number(table, 0, device);
    table_set_number(table, 1, broken);
    return cli_table_print(cli, table);
}
