/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli: libblkd on the command line. This file finds the command and its options, and runs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/help.h"
#include "client/cli/nearest.h"
#include "client/cli/report.h"
#include "common/cleanup.h"

enum {
    MAIN_GROUPS = OPTIONS_GLOBAL | OPTIONS_JSON | OPTIONS_MAIN,
};

/* How many words of the command line are the command's name; 0: it is not this command. */
static int main_match(const struct command *command, int argc, char **argv)
{
    const char *space = strchr(command->name, ' ');
    size_t length = strcspn(command->name, " ");

    if (strncmp(argv[0], command->name, length) != 0 || argv[0][length] != '\0')
        return 0;
    if (!space)
        return 1;
    return argc > 1 && strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

/* The command that argv begins with, NULL if there is none; *ret_words as main_match. */
static const struct command *main_find_command(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        *ret_words = main_match(&COMMANDS[i], argc, argv);
        if (*ret_words > 0)
            return &COMMANDS[i];
    }
    return NULL;
}

static int main_refuse_name(const struct cli *cli, const char *name)
{
    struct nearest nearest;

    nearest_init(&nearest, name, strlen(name));
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        nearest_offer(&nearest, COMMANDS[i].name);
    if (nearest.best)
        return report_usage(cli, "unknown command '%s'; did you mean '%s'?", name, nearest.best);
    return report_usage(cli, "unknown command '%s'", name);
}

/* The word after a group's name asks for help or is not a command of the group. */
static int main_group(struct cli *cli, const char *group, const char *word)
{
    CLEANUP_FREE char *name = NULL;

    if (word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
        help_print_group(group);
        return CLI_OK;
    }
    cli->group = group;
    if (!word)
        return report_usage(cli, "'%s' needs a subcommand", group);
    if (asprintf(&name, "%s %s", group, word) < 0)
        return report_errno(cli, -ENOMEM, "unknown command");
    return main_refuse_name(cli, name);
}

static int main_unknown(struct cli *cli, int argc, char **argv)
{
    if (help_is_group(argv[0]))
        return main_group(cli, argv[0], argc > 1 ? argv[1] : NULL);
    return main_refuse_name(cli, argv[0]);
}

/* "help", "help COMMAND" and "help GROUP"; argv starts after the word. */
static int main_help(struct cli *cli, int argc, char **argv)
{
    const struct command *command;
    int words;

    if (argc == 0) {
        help_print();
        return CLI_OK;
    }
    command = main_find_command(argc, argv, &words);
    if (command)
        help_print_command(command);
    else if (argc == 1 && help_is_group(argv[0]))
        help_print_group(argv[0]);
    else
        return main_unknown(cli, argc, argv);
    return CLI_OK;
}

/* Names the first operand that is not there. */
static int main_missing(const struct cli *cli)
{
    const char *name = cli->command->operands;

    for (size_t i = 0; i < cli->options.operand_count; i++)
        name += strcspn(name, " ") + 1;
    return report_usage(cli, "missing argument: %.*s", (int)strcspn(name, " "), name);
}

static int main_check_operands(const struct cli *cli)
{
    const struct command *command = cli->command;
    const struct options *options = &cli->options;

    if (options->operand_count < command->operands_min)
        return main_missing(cli);
    if (options->operand_count > command->operands_max)
        return report_usage(cli, "unexpected argument '%s'",
                            options->operands[command->operands_max]);
    if ((command->groups & OPTIONS_REST) && options->rest_count == 0)
        return report_usage(cli, "missing argument: COMMAND to run, after '--'");
    if (options->json && !(command->groups & OPTIONS_JSON))
        return report_usage(cli, "--json is not available, since stdout is that of COMMAND");
    return CLI_OK;
}

/* argv begins with the command's name. */
static int main_run_command(struct cli *cli, int argc, char **argv)
{
    struct options_error reason;
    int words;
    int code;

    cli->command = main_find_command(argc, argv, &words);
    if (!cli->command)
        return main_unknown(cli, argc, argv);
    if (options_parse(&cli->options, cli->command->groups | OPTIONS_GLOBAL, argc - words + 1,
                      argv + words - 1, &reason))
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
        help_print();
        return CLI_OK;
    }
    if (next == argc)
        return report_usage(cli, "no command given");
    if (strcmp(argv[next], "help") == 0)
        return main_help(cli, argc - next - 1, argv + next + 1);
    return main_run_command(cli, argc - next, argv + next);
}

/* Output that could not be written is a failure, even if only the last flush finds out. */
static int main_close_stdout(const struct cli *cli, int code)
{
    int was_error = ferror(stdout);

    errno = 0;
    if (fclose(stdout) == 0 && !was_error)
        return code;
    if (code != CLI_OK)
        return code;
    int error = report_stdout_error();
    if (error == 0)
        error = errno ? -errno : -EIO;
    return report_output(cli, error, "stdout");
}

/* What is opened later must not become stdin, stdout or stderr: messages would be written into it.
 * Not /dev/null: output that nobody gets is a failure. A descriptor that is only a path can be
 * neither read nor written, like one that is closed. */
static void main_occupy_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) != fd)
            _exit(CLI_FAILED);
}

int main(int argc, char **argv)
{
    struct cli cli = {.options = OPTIONS_INIT};
    int code;

    main_occupy_standard();
    /* A reader that closes our output ends us silently, even if SIGPIPE was inherited as ignored.
     */
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setlocale(LC_CTYPE, ""); /* not LC_NUMERIC: JSON's point is a point */
    code = main_run(&cli, argc, argv);
    if (cli.connection)
        blkd_disconnect(cli.connection);
    return main_close_stdout(&cli, code);
}
