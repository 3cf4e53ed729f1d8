/* SPDX-License-Identifier: MIT */
/*
 * `why`: who holds a device, in blkd and outside, and whether its data is flushed. The answer in a
 * sentence first, then a table of the holders.
 */
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli.h"
#include "client/cli/find.h"
#include "client/cli/json.h"
#include "client/cli/report.h"
#include "client/cli/text.h"
#include "client/cli/user.h"
#include "client/cli/when.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum holder_column {
    HOLDER_KIND,
    HOLDER_STATE,
    HOLDER_MODE,
    HOLDER_PID,
    HOLDER_USER,
    HOLDER_COMMAND,
    HOLDER_SESSION,
    HOLDER_AGE,
    HOLDER_DETAIL,
    HOLDER_PURPOSE,
    HOLDER_COLUMNS,
};

/* For people; JSON is written by why_print_json. */
static const struct table_column HOLDER_TABLE[HOLDER_COLUMNS] = {
    [HOLDER_KIND] = {NULL, "HOLDER", TABLE_TEXT},
    [HOLDER_STATE] = {NULL, "STATE", TABLE_TEXT},
    [HOLDER_MODE] = {NULL, "MODE", TABLE_TEXT},
    [HOLDER_PID] = {NULL, "PID", TABLE_NUMBER},
    [HOLDER_USER] = {NULL, "USER", TABLE_TEXT},
    [HOLDER_COMMAND] = {NULL, "COMMAND", TABLE_TEXT},
    [HOLDER_SESSION] = {NULL, "SESSION", TABLE_NUMBER},
    [HOLDER_AGE] = {NULL, "AGE", TABLE_TEXT},
    [HOLDER_DETAIL] = {NULL, "DETAIL", TABLE_TEXT},
    [HOLDER_PURPOSE] = {NULL, "PURPOSE", TABLE_TEXT},
};

/* Current holders are counted apart from those that wait. */
struct why_count {
    size_t sessions;
    size_t outside;
    size_t waiting;
};

static struct why_count why_count(const struct blkd_holders *holders)
{
    struct why_count count = {0};

    for (size_t i = 0; i < holders->count; i++) {
        if (holders->entries[i]->waiting)
            count.waiting++;
        else if (holders->entries[i]->kind == BLKD_HOLDER_SESSION)
            count.sessions++;
        else
            count.outside++;
    }
    return count;
}

static const char *why_plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static void why_print_holders(const struct blkd_holders *holders, const struct why_count *count)
{
    if (count->sessions + count->outside == 0)
        (void)printf("not in use");
    else
        (void)printf("in use by ");
    if (count->sessions > 0)
        (void)printf("%zu session%s", count->sessions, why_plural(count->sessions));
    if (count->sessions > 0 && count->outside > 0)
        (void)printf(" and ");
    if (count->outside > 0)
        (void)printf("%zu holder%s outside blkd", count->outside, why_plural(count->outside));
    if (count->waiting > 0)
        (void)printf(", %zu waiting", count->waiting);
    if (holders->more)
        (void)printf(", and others that are not listed");
}

static const char *why_safety(const struct blkd_holders *holders)
{
    if (holders->failed)
        return "FAILED: a sync failed and earlier writes may be lost. Check the contents, then run "
               "'blkd-cli recover'.";
    if (holders->safe)
        return "No failed sync, nothing unflushed.";
    return "No failed sync, but some writes may be unflushed; run 'blkd-cli sync flush'.";
}

static void why_print_sentence(const char *path, const struct blkd_holders *holders)
{
    CLEANUP_FREE char *shown = text_escape(path, TEXT_TERMINAL);
    struct why_count count = why_count(holders);

    (void)printf("%s: ", shown ? shown : path);
    why_print_holders(holders, &count);
    if (holders->device_number == 0)
        (void)printf(", not open in blkd");
    (void)printf(". %s\n", why_safety(holders));
}

/* Of a session, how it is open and which lock it has; of others, how they hold it. */
static void why_set_mode(struct table *table, const struct blkd_holder *holder)
{
    if (holder->kind != BLKD_HOLDER_SESSION)
        table_set_text(table, HOLDER_MODE, holder->exclusive ? "exclusive" : "shared");
    else if (holder->lock == BLKD_LOCK_NONE)
        table_set_text(table, HOLDER_MODE, words_mode(holder->read_write));
    else
        table_set_format(table, HOLDER_MODE, "%s, %s", words_mode(holder->read_write),
                         words_lock(holder->lock));
}

static void why_fill(struct table *table, const struct blkd_holder *holder)
{
    char text[USER_TEXT_MAX];
    char age[WHEN_TEXT_MAX];

    table_set_text(table, HOLDER_KIND, words_holder(holder->kind));
    table_set_text(table, HOLDER_STATE,
                   holder->waiting ? "waits" : (holder->via ? "holds part" : "holds"));
    why_set_mode(table, holder);
    if (holder->pid != 0) {
        user_format(holder->uid, text);
        table_set_number(table, HOLDER_PID, holder->pid);
        table_set_text(table, HOLDER_USER, text);
    }
    table_set_text(table, HOLDER_COMMAND, holder->command);
    if (holder->session_number != 0)
        table_set_number(table, HOLDER_SESSION, holder->session_number);
    if (holder->since_unix_ms != 0) {
        when_format_age(when_age_seconds(holder->since_unix_ms), age);
        table_set_text(table, HOLDER_AGE, age);
    }
    table_set_text(table, HOLDER_DETAIL, holder->detail);
    table_set_text(table, HOLDER_PURPOSE, holder->purpose);
}

static int why_print_table(struct cli *cli, const struct blkd_holders *holders)
{
    CLEANUP_TABLE struct table *table =
        cli_table_new(cli, "holders", HOLDER_TABLE, HOLDER_COLUMNS, TABLE_ROWS);

    if (!table)
        return CLI_FAILED;
    for (size_t i = 0; i < holders->count; i++) {
        table_add_row(table);
        why_fill(table, holders->entries[i]);
    }
    return cli_table_print(cli, table);
}

static void why_json_holder(struct json *json, const struct blkd_holder *holder)
{
    json_open(json, NULL, '{');
    json_text(json, "kind", words_holder(holder->kind));
    json_bool(json, "exclusive", holder->exclusive);
    json_bool(json, "via", holder->via);
    json_bool(json, "waiting", holder->waiting);
    json_number(json, "pid", holder->pid);
    json_number(json, "uid", holder->uid);
    json_text(json, "command", holder->command);
    json_text(json, "detail", holder->detail);
    if (holder->kind == BLKD_HOLDER_SESSION) {
        json_number(json, "session", holder->session_number);
        json_text(json, "mode", words_mode(holder->read_write));
        json_text(json, "lock", words_lock(holder->lock));
        json_text(json, "purpose", holder->purpose);
        json_number(json, "since_unix_ms", holder->since_unix_ms);
    }
    json_close(json, '}');
}

static void why_print_json(const char *path, const struct blkd_holders *holders)
{
    struct why_count count = why_count(holders);
    struct json json = JSON_INIT(stdout);

    json_open(&json, NULL, '{');
    json_text(&json, "path", path);
    json_number(&json, "device", holders->device_number);
    json_bool(&json, "held", count.sessions + count.outside > 0);
    json_bool(&json, "failed", holders->failed);
    json_bool(&json, "safe", holders->safe);
    json_bool(&json, "more", holders->more);
    json_open(&json, "holders", '[');
    for (size_t i = 0; i < holders->count; i++)
        why_json_holder(&json, holders->entries[i]);
    json_close(&json, ']');
    json_close(&json, '}');
    (void)putchar('\n');
}

int cmd_why(struct cli *cli)
{
    CLEANUP_HOLDERS struct blkd_holders *holders = NULL;
    CLEANUP_CONFIG struct blkd_config *config = NULL;
    struct why_count count;
    int error = blkd_config_from_argument(cli->options.operands[0], &config);
    int code;

    if (error)
        return report_usage(cli, "%s", blkd_error_message());
    code = cli_connect(cli);
    if (code != CLI_OK)
        return code;
    error = blkd_who(cli->connection, config->path, &holders);
    if (error)
        return report_library(cli, error);
    if (cli->options.json) {
        why_print_json(config->path, holders);
    } else {
        why_print_sentence(config->path, holders);
        code = why_print_table(cli, holders);
    }
    count = why_count(holders);
    return code == CLI_OK && count.sessions + count.outside > 0 ? CLI_BUSY : code;
}
