/* SPDX-License-Identifier: MIT */
#include "client/cli/cli.h"

#include <errno.h>

#include "client/cli/report.h"

int cli_connect(struct cli *cli)
{
    struct blkd_options options = {0};
    int error;

    options.socket_path = cli->options.socket_path;
    error = blkd_connect(&options, &cli->connection);
    return error ? report_library(cli, error) : CLI_OK;
}

struct table *cli_table_new(struct cli *cli, const char *name, const struct table_column *columns,
                            size_t count, enum table_form form)
{
    struct table *table = table_new(name, columns, count, cli->options.json ? TABLE_JSON : form);

    if (!table)
        (void)report_errno(cli, -ENOMEM, "cannot print the table");
    return table;
}

int cli_table_print(struct cli *cli, const struct table *table)
{
    int error = table_print(table, stdout);

    if (error)
        return report_errno(cli, error, "cannot print the table");
    /* Flushed here, where errno is still known: a warning printed next would flush it as well. */
    if (fflush(stdout) != 0)
        return report_output(cli, -errno, "stdout");
    return CLI_OK;
}
