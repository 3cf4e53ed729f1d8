/* SPDX-License-Identifier: MIT */
/*
 * `config`: the configuration string of an open device, or what a given string means.
 */
#include <stdio.h>

#include "client/cli/cli.h"
#include "client/cli/report.h"
#include "client/cli/target.h"
#include "client/cli/text.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum config_column {
    CONFIG_STRING,
    CONFIG_PATH,
    CONFIG_BUFFERED,
    CONFIG_SYNC,
    CONFIG_LOCK,
    CONFIG_SECTOR_SIZE,
    CONFIG_SECTOR_SIZE_TEXT,
    CONFIG_MODE,
    CONFIG_STRICT,
    CONFIG_DISCARD,
    CONFIG_PURPOSE,
    CONFIG_COLUMNS,
};

static const struct table_column CONFIG_TABLE[CONFIG_COLUMNS] = {
    [CONFIG_STRING] = {"config", "config", TABLE_TEXT},
    [CONFIG_PATH] = {"path", "path", TABLE_TEXT},
    [CONFIG_BUFFERED] = {"buffered", "buffered", TABLE_BOOL},
    [CONFIG_SYNC] = {"sync", "sync", TABLE_TEXT},
    [CONFIG_LOCK] = {"lock", "lock", TABLE_BOOL},
    [CONFIG_SECTOR_SIZE] = {"prefered_sector_size", NULL, TABLE_NUMBER},
    [CONFIG_SECTOR_SIZE_TEXT] = {NULL, "sector size", TABLE_TEXT},
    [CONFIG_MODE] = {"mode", "mode", TABLE_TEXT},
    [CONFIG_STRICT] = {"strict", "strict", TABLE_BOOL},
    [CONFIG_DISCARD] = {"discard", "discard", TABLE_BOOL},
    [CONFIG_PURPOSE] = {"purpose", "purpose", TABLE_TEXT},
};

static int config_print_fields(struct cli *cli, const struct blkd_config *config, const char *text)
{
    CLEANUP_TABLE struct table *table =
        cli_table_new(cli, "config", CONFIG_TABLE, CONFIG_COLUMNS, TABLE_RECORD);

    if (!table)
        return CLI_FAILED;
    table_add_row(table);
    table_set_text(table, CONFIG_STRING, text);
    table_set_text(table, CONFIG_PATH, config->path);
    table_set_bool(table, CONFIG_BUFFERED, !config->direct);
    table_set_text(table, CONFIG_SYNC, words_sync(config->sync));
    table_set_bool(table, CONFIG_LOCK, config->lock);
    if (config->sector_size != 0) {
        table_set_number(table, CONFIG_SECTOR_SIZE, config->sector_size);
        table_set_format(table, CONFIG_SECTOR_SIZE_TEXT, "%u B", config->sector_size);
    } else {
        table_set_text(table, CONFIG_SECTOR_SIZE_TEXT, "device default");
    }
    table_set_text(table, CONFIG_MODE, words_access(config->access));
    table_set_bool(table, CONFIG_STRICT, config->strict);
    table_set_bool(table, CONFIG_DISCARD, config->discard);
    table_set_text(table, CONFIG_PURPOSE, config->purpose);
    return cli_table_print(cli, table);
}

static int config_print(struct cli *cli, const struct blkd_config *config, bool fields)
{
    CLEANUP_FREE char *text = NULL;
    int error = blkd_config_format(config, &text);

    if (error)
        return report_library(cli, error);
    if (fields)
        return config_print_fields(cli, config, text);
    (void)puts(text);
    return CLI_OK;
}

static int config_parse(struct cli *cli)
{
    CLEANUP_CONFIG struct blkd_config *config = NULL;

    if (cli->options.operand_count > 0)
        return report_usage(cli, "DEVICE and --parse cannot be used together");
    if (blkd_config_parse(cli->options.parse, &config))
        return report_usage(cli, "%s", blkd_error_message());
    return config_print(cli, config, true);
}

static int config_ask(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    CLEANUP_CONFIG struct blkd_config *config = NULL;
    int error;
    int code = target_open(cli, BLKD_ACCESS_AUTO, &target);

    if (code != CLI_OK)
        return code;
    error = blkd_get_config(target.device, &config);
    if (error)
        return report_library(cli, error);
    return config_print(cli, config, cli->options.json);
}

int cmd_config(struct cli *cli)
{
    if (cli->options.parse)
        return config_parse(cli);
    if (cli->options.operand_count == 0)
        return report_usage(cli, "missing argument: DEVICE or --parse STRING");
    return config_ask(cli);
}
