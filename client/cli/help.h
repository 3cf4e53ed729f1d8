/* SPDX-License-Identifier: MIT */
/*
 * --help: made from the table of commands and the table of options.
 */
#ifndef BLKD_CLI_HELP_H
#define BLKD_CLI_HELP_H

#include <stddef.h>

#include "client/cli/cli.h"

void help_print(const struct command *commands, size_t count);
void help_print_command(const struct command *command);

#endif
