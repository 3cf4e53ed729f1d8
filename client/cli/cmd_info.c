/* SPDX-License-Identifier: MIT */
/*
 * `info`: the effective settings of a device, alongside the requested ones.
 */
#include <inttypes.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/report.h"
#include "client/cli/size.h"
#include "client/cli/target.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum info_column {
    INFO_PATH,
    INFO_DEVICE,
    INFO_KIND,
    INFO_SIZE,
    INFO_SIZE_BYTES,
    INFO_SIZE_SECTORS,
    INFO_SECTOR_SIZE,
    INFO_ASKED_SECTOR_SIZE,
    INFO_GRANULE,
    INFO_MODE,
    INFO_MODE_ASKED,
    INFO_MODE_TEXT,
    INFO_CACHING,
    INFO_CACHING_ASKED,
    INFO_CACHING_TEXT,
    INFO_SYNC,
    INFO_SYNC_ASKED,
    INFO_SYNC_TEXT,
    INFO_LOCK,
    INFO_LOCK_ASKED,
    INFO_LOCK_TEXT,
    INFO_DISCARD,
    INFO_GENERATION,
    INFO_ELISION,
    INFO_ELISION_OWN,
    INFO_STATE,
    INFO_FAILED,
    INFO_DISCARD_ASKED,
    INFO_VOLATILE,
    INFO_FORGETS,
    INFO_UNSYNCED,
    INFO_TOKEN,
    INFO_LOCK_LOST,
    INFO_FORMAT,
    INFO_COLUMNS,
};

static const struct table_column INFO_TABLE[INFO_COLUMNS] = {
    [INFO_PATH] = {"path", "path", TABLE_TEXT},
    [INFO_DEVICE] = {"device", "device number", TABLE_NUMBER},
    [INFO_KIND] = {"kind", "kind", TABLE_TEXT},
    [INFO_SIZE] = {NULL, "size", TABLE_TEXT},
    [INFO_SIZE_BYTES] = {"size_bytes", NULL, TABLE_NUMBER},
    [INFO_SIZE_SECTORS] = {"size_sectors", NULL, TABLE_NUMBER},
    [INFO_ASKED_SECTOR_SIZE] = {"asked_sector_size", NULL, TABLE_NUMBER},
    [INFO_SECTOR_SIZE] = {"sector_size", "sector size", TABLE_BYTES},
    [INFO_GRANULE] = {"granule_bytes", "smallest I/O", TABLE_BYTES},
    [INFO_MODE] = {"mode", NULL, TABLE_TEXT},
    [INFO_MODE_ASKED] = {"asked_mode", NULL, TABLE_TEXT},
    [INFO_MODE_TEXT] = {NULL, "mode", TABLE_TEXT},
    [INFO_CACHING] = {"caching", NULL, TABLE_TEXT},
    [INFO_CACHING_ASKED] = {"asked_caching", NULL, TABLE_TEXT},
    [INFO_CACHING_TEXT] = {NULL, "caching", TABLE_TEXT},
    [INFO_SYNC] = {"sync", NULL, TABLE_TEXT},
    [INFO_SYNC_ASKED] = {"asked_sync", NULL, TABLE_TEXT},
    [INFO_SYNC_TEXT] = {NULL, "sync", TABLE_TEXT},
    [INFO_LOCK] = {"lock", NULL, TABLE_TEXT},
    [INFO_LOCK_ASKED] = {"asked_lock", NULL, TABLE_TEXT},
    [INFO_LOCK_TEXT] = {NULL, "lock", TABLE_TEXT},
    [INFO_DISCARD] = {"discard", "discard method", TABLE_TEXT},
    [INFO_GENERATION] = {"generation", "generation", TABLE_NUMBER},
    [INFO_ELISION] = {NULL, "flush covers", TABLE_TEXT},
    [INFO_ELISION_OWN] = {"elision_own_writes_only", NULL, TABLE_BOOL},
    [INFO_STATE] = {NULL, "state", TABLE_TEXT},
    [INFO_FAILED] = {"failed", NULL, TABLE_BOOL},
    [INFO_DISCARD_ASKED] = {"asked_discard", NULL, TABLE_BOOL},
    [INFO_VOLATILE] = {"volatile_storage", NULL, TABLE_BOOL},
    [INFO_FORGETS] = {"forgets_failure", NULL, TABLE_BOOL},
    [INFO_UNSYNCED] = {"unsynced_changes", NULL, TABLE_NUMBER},
    [INFO_TOKEN] = {"token", "token", TABLE_NUMBER},
    [INFO_LOCK_LOST] = {"lock_lost", NULL, TABLE_BOOL},
    [INFO_FORMAT] = {"format", "format", TABLE_TEXT},
};

static const char *info_asked_lock(const struct blkd_info *info)
{
    if (!info->asked_lock)
        return words_lock(BLKD_LOCK_NONE);
    return words_lock(info->read_write ? BLKD_LOCK_EXCLUSIVE : BLKD_LOCK_SHARED);
}

static void info_fill_geometry(struct table *table, const struct target *target)
{
    const struct blkd_info *info = &target->info;
    uint64_t size_bytes = target_size_bytes(target);
    char size[SIZE_TEXT_MAX];

    size_format(size_bytes, size);
    table_set_text(table, INFO_PATH, target->config->path);
    table_set_number(table, INFO_DEVICE, info->device_number);
    table_set_text(table, INFO_KIND, words_kind(info->kind));
    table_set_format(table, INFO_SIZE, "%s (%" PRIu64 " sectors, %" PRIu64 " bytes)", size,
                     info->size_sectors, size_bytes);
    table_set_number(table, INFO_SIZE_BYTES, size_bytes);
    table_set_number(table, INFO_SIZE_SECTORS, info->size_sectors);
    table_set_number(table, INFO_SECTOR_SIZE, info->sector_size);
    if (info->asked_sector_size != 0)
        table_set_number(table, INFO_ASKED_SECTOR_SIZE, info->asked_sector_size);
    table_set_number(table, INFO_GRANULE, info->granule_bytes);
    table_set_number(table, INFO_GENERATION, info->generation);
}

/* What is effective and what was requested: two columns of JSON, then one for people. */
static void info_set_asked(struct table *table, size_t column, const char *effective,
                           const char *asked)
{
    table_set_text(table, column, effective);
    table_set_text(table, column + 1, asked);
    if (strcmp(effective, asked) == 0)
        table_set_text(table, column + 2, effective);
    else
        table_set_format(table, column + 2, "%s (requested: %s)", effective, asked);
}

static void info_fill_state(struct table *table, const struct target *target)
{
    const struct blkd_info *info = &target->info;

    info_set_asked(table, INFO_MODE, words_mode(info->read_write),
                   words_access(info->asked_access));
    info_set_asked(table, INFO_CACHING, words_caching(info->direct),
                   words_caching(info->asked_direct));
    info_set_asked(table, INFO_SYNC, words_sync(info->sync), words_sync(info->asked_sync));
    info_set_asked(table, INFO_LOCK, words_lock(info->lock), info_asked_lock(info));
    table_set_text(table, INFO_DISCARD, words_discard(info->discard));
    table_set_text(table, INFO_ELISION,
                   info->elision_own_writes_only ? "writes through blkd" : "all writes");
    table_set_bool(table, INFO_ELISION_OWN, info->elision_own_writes_only);
    table_set_text(table, INFO_STATE, info->failed ? "FAILED" : "ok");
    table_set_bool(table, INFO_FAILED, info->failed);
    table_set_bool(table, INFO_DISCARD_ASKED, info->asked_discard);
    table_set_bool(table, INFO_VOLATILE, info->volatile_storage);
    table_set_bool(table, INFO_FORGETS, info->forgets_failure);
    table_set_number(table, INFO_UNSYNCED, info->unsynced_changes);
    if (info->token != 0)
        table_set_number(table, INFO_TOKEN, info->token);
    table_set_bool(table, INFO_LOCK_LOST, info->lock_lost);
}

/* Warns of what differs from the request. Read-only where "auto" was asked for is no surprise. */
static void info_warn(const struct cli *cli, const struct target *target)
{
    const struct blkd_info *info = &target->info;
    const char *path = target->config->path;

    if (info->failed)
        report_warning(cli,
                       "%s: FAILED: a sync failed; writes and flushes are refused until "
                       "'blkd-cli recover'",
                       path);
    if (info->direct != info->asked_direct)
        report_warning(cli,
                       "%s: %s, not %s as requested; another session opened it first or the file "
                       "system has no direct I/O",
                       path, words_caching(info->direct), words_caching(info->asked_direct));
    if (info->sync != info->asked_sync)
        report_warning(cli, "%s: sync=%s, not %s as requested", path, words_sync(info->sync),
                       words_sync(info->asked_sync));
    if (info->volatile_storage)
        report_warning(
            cli, "%s: on volatile storage; flushed data does not survive a power failure", path);
    if (info->forgets_failure)
        report_warning(cli,
                       "%s: nothing names it for good; if a sync fails, a restart of the daemon "
                       "forgets that",
                       path);
    if (info->asked_lock && info->lock == BLKD_LOCK_NONE)
        report_warning(cli, "%s: not locked although a lock was requested", path);
    if (info->asked_sector_size != 0 && info->asked_sector_size != info->sector_size)
        report_warning(cli, "%s: sector size is %" PRIu32 " bytes, not %" PRIu32 " as requested",
                       path, info->sector_size, info->asked_sector_size);
}

int cmd_info(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    CLEANUP_TABLE struct table *table = NULL;
    const struct format *format;
    int code = target_open(cli, BLKD_ACCESS_AUTO, &target);

    if (code != CLI_OK)
        return code;
    table = cli_table_new(cli, "info", INFO_TABLE, INFO_COLUMNS, TABLE_RECORD);
    if (!table)
        return CLI_FAILED;
    table_add_row(table);
    info_fill_geometry(table, &target);
    info_fill_state(table, &target);
    format = target_format(&target);
    if (format)
        table_set_text(table, INFO_FORMAT, format->name);
    code = cli_table_print(cli, table);
    if (code == CLI_OK) {
        info_warn(cli, &target);
        target_warn_format(cli, &target, format);
    }
    return code;
}
