/* SPDX-License-Identifier: MIT */
#include "client/cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char HELP_DEVICE[] =
    "\nDEVICE is a path, or a configuration string:\n"
    "  file://PATH?sync=(none|os|drive)&buffered=(0|1)&lock=(0|1)&prefered_sector_size=N\n"
    "             &mode=(auto|ro|rw)&strict=(0|1)&discard=(0|1)&purpose=TEXT\n"
    "A path alone is opened buffered, with sync os, without a lock.\n";

static const char HELP_SIZES[] =
    "\nNumbers take a unit: K, M, G, T or KiB, MiB, ... are powers of 1024, KB, MB, ...\n"
    "of 1000.\n";

static const char HELP_EXIT[] =
    "\nExit codes:\n"
    "  0  done\n"
    "  1  the operation failed or was refused\n"
    "  2  the command line is wrong; nothing was done\n"
    "  3  the daemon cannot be reached or was lost\n"
    "  4  busy: somebody else has the device, or holds a lock that was not to be had in time\n";

static bool help_belongs(const struct command *command, const char *group)
{
    size_t length = strlen(group);

    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

bool help_is_group(const char *word)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (help_belongs(&COMMANDS[i], word))
            return true;
    return false;
}

void help_print_group(const char *group)
{
    (void)printf("Usage: blkd-cli %s COMMAND [OPTION...] [DEVICE]...\n\nCommands:\n", group);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (help_belongs(&COMMANDS[i], group))
            (void)printf("  %-14s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    (void)printf("\n'blkd-cli %s COMMAND --help' explains a command.\n", group);
}

void help_print(void)
{
    (void)fputs("Usage: blkd-cli [--socket PATH] [--json] COMMAND [OPTION...] [DEVICE]...\n\n"
                "Block devices and disk images through the daemon blkd.\n\nCommands:\n",
                stdout);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)printf("  %-14s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    (void)fputs("\nOptions, before or after the command:\n", stdout);
    options_print(OPTIONS_GLOBAL | OPTIONS_JSON | OPTIONS_MAIN, stdout);
    (void)fputs(HELP_DEVICE, stdout);
    (void)fputs(HELP_EXIT, stdout);
    (void)fputs("\n'blkd-cli COMMAND --help' explains a command; blkd-cli(1) has it all.\n",
                stdout);
}

void help_print_command(const struct command *command)
{
    unsigned int own = command->groups & ~(unsigned int)(OPTIONS_DEVICE | OPTIONS_JSON);
    unsigned int common = (command->groups & OPTIONS_JSON) | OPTIONS_GLOBAL;

    (void)printf("Usage: blkd-cli %s [OPTION...]%s%s\n\n%c%s.\n", command->name,
                 command->operands[0] ? " " : "", command->operands, toupper(command->summary[0]),
                 command->summary + 1);
    if (command->details)
        (void)printf("%s", command->details);
    (void)fputs("\nOptions:\n", stdout);
    options_print(own, stdout);
    options_print(common, stdout);
    if (command->groups & OPTIONS_DEVICE) {
        (void)fputs("\nHow the device is opened, whatever its configuration string says:\n",
                    stdout);
        options_print(OPTIONS_DEVICE, stdout);
        (void)fputs(HELP_DEVICE, stdout);
        (void)fputs(HELP_SIZES, stdout);
    }
    (void)printf("\nExamples:\n%s", command->examples);
    (void)fputs(HELP_EXIT, stdout);
}
