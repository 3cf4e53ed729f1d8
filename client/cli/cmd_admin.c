/* SPDX-License-Identifier: MIT */
/*
 * `recover` and `session evict`: for administrators. (`lock break` is in cmd_lock.c.)
 */
#include "client/cli/cli.h"
#include "client/cli/find.h"
#include "client/cli/report.h"
#include "client/cli/result.h"
#include "client/cli/when.h"
#include "common/cleanup.h"

enum recover_column {
    RECOVER_FAILED,
    RECOVER_FAILED_AT_TEXT,
    RECOVER_FAILED_AT,
    RECOVER_GENERATION,
    RECOVER_COLUMNS,
};

static const struct table_column RECOVER_TABLE[RECOVER_COLUMNS] = {
    [RECOVER_FAILED] = {"failed_with", "failed with", TABLE_TEXT},
    [RECOVER_FAILED_AT_TEXT] = {NULL, "failed at", TABLE_TEXT},
    [RECOVER_FAILED_AT] = {"failed_unix_ms", NULL, TABLE_NUMBER},
    [RECOVER_GENERATION] = {"generation", "generation", TABLE_NUMBER},
};

/* By number or by path: a failed device need not be open. */
static int recover_ask(struct cli *cli, struct blkd_recovery *recovery)
{
    CLEANUP_CONFIG struct blkd_config *config = NULL;
    const char *argument = cli->options.operands[0];
    uint64_t number;
    int code;
    int error;

    if (!find_is_number(argument, &number) && blkd_config_from_argument(argument, &config) != 0)
        return report_usage(cli, "%s", blkd_error_message());
    code = cli_connect(cli);
    if (code != CLI_OK)
        return code;
    error = config ? blkd_recover(cli->connection, config->path, 0, recovery)
                   : blkd_recover(cli->connection, NULL, number, recovery);
    return error ? report_library(cli, error) : CLI_OK;
}

int cmd_recover(struct cli *cli)
{
    CLEANUP_TABLE struct table *table = NULL;
    struct blkd_recovery recovery = {0};
    char when[WHEN_TEXT_MAX];
    int code = recover_ask(cli, &recovery);

    if (code != CLI_OK)
        return code;
    table = cli_table_new(cli, "recovery", RECOVER_TABLE, RECOVER_COLUMNS, TABLE_RECORD);
    if (!table)
        return CLI_FAILED;
    table_add_row(table);
    if (recovery.failed < 0)
        table_set_text(table, RECOVER_FAILED, blkd_strerror(recovery.failed));
    if (recovery.failed_unix_ms != 0) {
        when_format(recovery.failed_unix_ms, when);
        table_set_text(table, RECOVER_FAILED_AT_TEXT, when);
    }
    table_set_number(table, RECOVER_FAILED_AT, recovery.failed_unix_ms);
    table_set_number(table, RECOVER_GENERATION, recovery.generation);
    code = cli_table_print(cli, table);
    if (recovery.failed < 0)
        report_warning(cli, "writes lost in the failed sync stay lost; check the contents before "
                            "you trust them");
    return code;
}

int cmd_session_evict(struct cli *cli)
{
    uint64_t number;
    int error;
    int code;

    if (!find_is_number(cli->options.operands[0], &number) || number == 0)
        return report_usage(cli, "'%s' is not a session number; 'blkd-cli sessions' lists them",
                            cli->options.operands[0]);
    code = cli_connect(cli);
    if (code != CLI_OK)
        return code;
    error = blkd_evict(cli->connection, number);
    if (error)
        return report_library(cli, error);
    return result_print(cli, "evict", NULL, &(struct result_number){"session", number}, 1);
}
