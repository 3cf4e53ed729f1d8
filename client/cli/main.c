/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli: libblkd in a person's hands. Here is the table of commands, and the way of a command
 * line to one of them.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/help.h"
#include "client/cli/report.h"
#include "common/cleanup.h"

static const struct command COMMANDS[] = {
    {
        .name = "info",
        .operands = "DEVICE",
        .summary = "what a session of the device gets: size, mode, caching, lock",
        .examples = "  blkd-cli info /dev/sdb\n"
                    "  blkd-cli info --json 'file:///srv/disk.img?buffered=0'\n",
        .groups = OPTIONS_DEVICE | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_info,
    },
    {
        .name = "read",
        .operands = "DEVICE",
        .summary = "read a range, to stdout or a file",
        .details =
            "Reads from the start to the end of the device, or any range of bytes of it. On a\n"
            "terminal they are shown as a hexadecimal dump, whose addresses are offsets on the\n"
            "device.\n",
        .examples = "  blkd-cli read /dev/sdb --count 1\n"
                    "  blkd-cli read disk.img --offset 1M --length 64K --output part.bin\n"
                    "  blkd-cli read disk.img | sha256sum\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_READ,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_read,
    },
    {
        .name = "write",
        .operands = "DEVICE",
        .summary = "write stdin or a file to the device",
        .details =
            "Writes all of the input, or as much as --count or --length say, from the start of\n"
            "the device on unless --sector or --offset are given. Input that is not a whole\n"
            "number of sectors is refused unless --pad is given. A failure on the way says how\n"
            "much was written.\n",
        .examples = "  blkd-cli write /dev/sdb --input disk.img --flush\n"
                    "  printf hello | blkd-cli write disk.img --sector 7 --pad\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_FUA | OPTIONS_WRITE,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_write,
    },
    {
        .name = "flush",
        .operands = "DEVICE",
        .summary = "bring everything written so far to stable storage",
        .examples = "  blkd-cli flush /dev/sdb\n",
        .groups = OPTIONS_DEVICE,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_flush,
    },
    {
        .name = "resize",
        .operands = "DEVICE SIZE",
        .summary = "change the size of an image file",
        .details =
            "SIZE is in bytes, with a unit if you like, or with + or - what to add or take away.\n",
        .examples = "  blkd-cli resize disk.img 20G\n"
                    "  blkd-cli resize disk.img +512M\n"
                    "  blkd-cli resize --shrink disk.img -1G\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RESIZE,
        .operands_min = 2,
        .operands_max = 2,
        .run = cmd_resize,
    },
    {
        .name = "discard",
        .operands = "DEVICE",
        .summary = "give a range back: it reads as zeroes afterwards",
        .examples = "  blkd-cli discard disk.img --offset 1G --length 256M\n"
                    "  blkd-cli discard /dev/sdb --all\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_ALL,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_discard,
    },
    {
        .name = "zero",
        .operands = "DEVICE",
        .summary = "write zeroes to a range",
        .examples = "  blkd-cli zero /dev/sdb --sector 0 --count 2048\n"
                    "  blkd-cli zero disk.img --all --fua\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_ALL | OPTIONS_FUA,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_zero,
    },
    {
        .name = "map",
        .operands = "DEVICE",
        .summary = "which parts of the device are mapped, and which are holes",
        .details = "Holes are certain to read as zeroes. A block device is all mapped.\n",
        .examples = "  blkd-cli map disk.img\n"
                    "  blkd-cli map --json --total disk.img\n",
        .groups = OPTIONS_DEVICE | OPTIONS_MAP | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_map,
    },
    {
        .name = "config",
        .operands = "[DEVICE]",
        .summary = "the configuration string that a session effectively has",
        .details = "With --parse, explains a configuration string and asks no daemon.\n",
        .examples = "  blkd-cli config --direct disk.img\n"
                    "  blkd-cli config --parse 'file:///srv/disk.img?sync=none&lock=1'\n",
        .groups = OPTIONS_DEVICE | OPTIONS_CONFIG | OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_config,
    },
    {
        .name = "ls",
        .operands = "",
        .summary = "the devices that the daemon has open",
        .examples = "  blkd-cli ls\n"
                    "  blkd-cli ls --json | jq -r '.devices[] | select(.unsynced) | .path'\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 0,
        .run = cmd_ls,
    },
    {
        .name = "sessions",
        .operands = "[DEVICE]",
        .summary = "who has which device open",
        .details = "DEVICE is a number of 'blkd-cli ls' (DEV) or a path.\n",
        .examples = "  blkd-cli sessions\n"
                    "  blkd-cli sessions /dev/sdb\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_sessions,
    },
    {
        .name = "ping",
        .operands = "",
        .summary = "how long a round trip takes, and which daemon answers",
        .examples = "  blkd-cli ping\n"
                    "  blkd-cli ping --count 1000 --interval 0 --json\n",
        .groups = OPTIONS_PING | OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 0,
        .run = cmd_ping,
    },
};

enum {
    COMMAND_COUNT = sizeof(COMMANDS) / sizeof(COMMANDS[0]),
    MAIN_GROUPS = OPTIONS_GLOBAL | OPTIONS_JSON | OPTIONS_MAIN,
};

static const struct command *main_find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

/* "help" and "help COMMAND". */
static int main_help(struct cli *cli, int argc, char **argv)
{
    const struct command *command = argc > 1 ? main_find_command(argv[1]) : NULL;

    if (argc > 1 && !command)
        return report_usage(cli, "there is no command '%s'", argv[1]);
    if (command)
        help_print_command(command);
    else
        help_print(COMMANDS, COMMAND_COUNT);
    return CLI_OK;
}

static int main_check_operands(const struct cli *cli)
{
    const struct command *command = cli->command;
    const struct options *options = &cli->options;

    if (options->operand_count < command->operands_min)
        return report_usage(cli, "it takes %s", command->operands);
    if (options->operand_count > command->operands_max)
        return report_usage(cli, "'%s' is one argument too many",
                            options->operands[command->operands_max]);
    if (options->json && !(command->groups & OPTIONS_JSON))
        return report_usage(cli, "it prints nothing for which --json would be another form");
    return CLI_OK;
}

/* argv[0] is the command's name. */
static int main_run_command(struct cli *cli, int argc, char **argv)
{
    struct options_error reason;
    int code;

    cli->command = main_find_command(argv[0]);
    if (!cli->command)
        return report_usage(cli, "there is no command '%s'", argv[0]);
    if (options_parse(&cli->options, cli->command->groups | OPTIONS_GLOBAL, argc, argv, &reason))
        return report_usage(cli, "%s", reason.message);
    if (cli->options.help) {
        help_print_command(cli->command);
        return CLI_OK;
    }
    code = main_check_operands(cli);
    return code == CLI_OK ? cli->command->run(cli) : code;
}

static int main_run(struct cli *cli, int argc, char **argv)
{
    struct options_error reason;
    int next;

    if (options_parse_leading(&cli->options, MAIN_GROUPS, argc, argv, &next, &reason))
        return report_usage(cli, "%s", reason.message);
    if (cli->options.version) {
        (void)printf("blkd-cli %s\n", BLKD_VERSION);
        return CLI_OK;
    }
    if (cli->options.help) {
        help_print(COMMANDS, COMMAND_COUNT);
        return CLI_OK;
    }
    if (next == argc)
        return report_usage(cli, "which command?");
    if (strcmp(argv[next], "help") == 0)
        return main_help(cli, argc - next, argv + next);
    return main_run_command(cli, argc - next, argv + next);
}

/* Output that did not reach its place is a failure, also when only the last flush finds out. */
static int main_close_stdout(const struct cli *cli, int code)
{
    int was_error = ferror(stdout);

    errno = 0;
    if (fclose(stdout) == 0 && !was_error)
        return code;
    if (code != CLI_OK)
        return code;
    return report_errno(cli, errno ? -errno : -EIO, "cannot write to stdout");
}

int main(int argc, char **argv)
{
    struct cli cli = {.options = OPTIONS_INIT};
    int code;

    /* If whoever reads our output has enough, that is no failure to talk about, also where the
     * signal's disposition was inherited as ignored. */
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setlocale(LC_CTYPE, ""); /* not LC_NUMERIC: JSON's point is a point */
    code = main_run(&cli, argc, argv);
    if (cli.connection)
        blkd_disconnect(cli.connection);
    return main_close_stdout(&cli, code);
}
