/* SPDX-License-Identifier: MIT */
#include "client/cli/result.h"

#include <stdio.h>

#include "client/cli/cli.h"
#include "client/cli/json.h"

int result_print(struct cli *cli, const char *name, const char *path,
                 const struct result_number *numbers, size_t count)
{
    struct json json = JSON_INIT(stdout);

    if (!cli->options.json)
        return CLI_OK;
    json_open(&json, NULL, '{');
    json_open(&json, name, '[');
    json_open(&json, NULL, '{');
    if (path)
        json_text(&json, "path", path);
    for (size_t i = 0; i < count; i++)
        json_number(&json, numbers[i].key, numbers[i].value);
    json_close(&json, '}');
    json_close(&json, ']');
    json_close(&json, '}');
    (void)putchar('\n');
    return CLI_OK;
}
