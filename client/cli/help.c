/* SPDX-License-Identifier: MIT */
#include "client/cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char HELP_DEVICE[] =
    "\nDEVICE is a path or a configuration string:\n"
    "  file://PATH?sync=(none|os|drive)&buffered=(0|1)&lock=(0|1)&prefered_sector_size=N\n"
    "             &mode=(auto|ro|rw)&strict=(0|1)&discard=(0|1)&purpose=TEXT\n"
    "Defaults: sync=os, buffered=1, lock=0, mode=auto, strict=0, discard=0.\n";

static const char HELP_SIZES[] =
    "\nNumbers may have a unit: K, M, G, T (or KiB, MiB, ...) are powers of 1024;\n"
    "KB, MB, ... are powers of 1000.\n";

static const char HELP_EXIT[] =
    "\nExit codes:\n"
    "  0  success\n"
    "  1  the operation failed or was refused\n"
    "  2  invalid command line; nothing was done\n"
    "  3  the daemon is not reachable, or the connection to it was lost\n"
    "  4  busy: somebody else uses or has locked the device\n";

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
    (void)printf("\nSee 'blkd-cli %s COMMAND --help' for details.\n", group);
}

void help_print(void)
{
    (void)fputs("Usage: blkd-cli [--socket PATH] [--json] COMMAND [OPTION...] [DEVICE]...\n\n"
                "Access block devices and disk images through the daemon blkd. Each open of a\n"
                "device is a session.\n\nCommands:\n",
                stdout);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)printf("  %-14s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    (void)fputs("\nOptions, before or after the command:\n", stdout);
    options_print(OPTIONS_GLOBAL | OPTIONS_JSON | OPTIONS_MAIN, stdout);
    (void)fputs(HELP_DEVICE, stdout);
    (void)fputs(HELP_EXIT, stdout);
    (void)fputs("\nSee 'blkd-cli COMMAND --help' and blkd-cli(1) for details.\n", stdout);
}

void help_print_command(const struct command *command)
{
    unsigned int own = command->groups & ~(unsigned int)(OPTIONS_DEVICE | OPTIONS_JSON);
    unsigned int common = (command->groups & OPTIONS_JSON) | OPTIONS_GLOBAL;

    (void)printf("Usage: blkd-cli %s [OPTION...]%s%s\n\n%c%s.\n", command->name,
                 command->operands[0] ? " " : "", command->operands, toupper(command->summary[0]),
                 command->summary + 1);
    if (command->details)
        (void)printf("\n%s", command->details);
    (void)fputs("\nOptions:\n", stdout);
    options_print(own, stdout);
    options_print(common, stdout);
    if (command->groups & OPTIONS_DEVICE) {
        (void)fputs("\nOptions for opening the device (they override the configuration string):\n",
                    stdout);
        options_print(OPTIONS_DEVICE, stdout);
        (void)fputs(HELP_DEVICE, stdout);
        (void)fputs(HELP_SIZES, stdout);
    }
    (void)printf("\nExamples:\n%s", command->examples);
    (void)fputs(HELP_EXIT, stdout);
}
