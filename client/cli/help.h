/* SPDX-License-Identifier: MIT */
/*
 * --help, generated from the tables of commands and options.
 */
#ifndef BLKD_CLI_HELP_H
#define BLKD_CLI_HELP_H

#include <stdbool.h>

#include "client/cli/cli.h"

void help_print(void);
void help_print_command(const struct command *command);

/* The commands whose names begin with this word. */
bool help_is_group(const char *word);
void help_print_group(const char *group);

#endif
