/* SPDX-License-Identifier: MIT */
#include "client/cli/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "client/cli/cli.h"
#include "client/cli/text.h"
#include "common/cleanup.h"

/* "blkd-cli: COMMAND: BEFORE TEXT AFTER" */
/* A flush that fails here leaves nothing for the last one to find out. */
static int stdout_error;

int report_stdout_error(void)
{
    return stdout_error;
}

__attribute__((format(printf, 4, 0))) static void report_line(const struct cli *cli,
                                                              const char *before, const char *after,
                                                              const char *format, va_list arguments)
{
    CLEANUP_FREE char *text = NULL;
    CLEANUP_FREE char *line = NULL;
    CLEANUP_FREE char *shown = NULL;

    if (vasprintf(&text, format, arguments) < 0)
        text = NULL; /* unspecified after a failure */
    if (asprintf(&line, "%s%s%s", before, text ? text : "out of memory", after) < 0)
        line = NULL;
    if (line)
        shown = text_escape(line, TEXT_TERMINAL);
    /* Where both are one terminal, what was printed before comes before. */
    if (fflush(stdout) != 0 && stdout_error == 0)
        stdout_error = -errno;
    (void)fprintf(stderr, "blkd-cli: %s%s%s\n", cli->command ? cli->command->name : "",
                  cli->command ? ": " : "", shown ? shown : "out of memory");
}

static int report_exit_code(int error)
{
    switch (error) {
    case -EBUSY:
        return CLI_BUSY;
    case -ENOTCONN:
    case -ESHUTDOWN:
        return CLI_UNREACHABLE;
    default:
        return CLI_FAILED;
    }
}

/* What can be done about it, NULL if there is nothing general to say. */
static const char *report_find_hint(const struct cli *cli, int error)
{
    if (!cli->connection)
        return NULL; /* the library has said it */
    switch (error) {
    case -EBUSY:
        return "'blkd-cli why DEVICE' tells who has it";
    case -EACCES:
    case -EPERM:
        if (cli->command && (cli->command->groups & OPTIONS_ADMIN))
            return "run it as root, or as the user that the daemon runs as";
        return "you and the daemon may both lack the right to open it: see its owner and mode";
    case -EROFS:
        return "'blkd-cli info DEVICE' tells whether it can be written";
    case -ENOTBLK:
        return "only block devices and regular files can be opened";
    case -ESTALE:
        return "its lock was taken away: look at what is on the device before you write to it "
               "again";
    case -ENOTCONN:
    case -ESHUTDOWN:
        return "the daemon stopped or was restarted; what was not answered may or may not be done";
    default:
        return NULL;
    }
}

static int report_hint(const struct cli *cli, int error)
{
    const char *hint = report_find_hint(cli, error);

    if (hint)
        (void)fprintf(stderr, "  hint: %s\n", hint);
    return cli->connection ? report_exit_code(error) : CLI_UNREACHABLE;
}

int report_usage(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_line(cli, "", "", format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "  hint: 'blkd-cli %s%s--help' explains it\n",
                  cli->command ? cli->command->name : "", cli->command ? " " : "");
    return CLI_USAGE;
}

__attribute__((format(printf, 2, 3))) static void report_text(const struct cli *cli,
                                                              const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_line(cli, "", "", format, arguments);
    va_end(arguments);
}

int report_library(const struct cli *cli, int error)
{
    report_text(cli, "%s", blkd_error_message());
    return report_hint(cli, error);
}

int report_partial(const struct cli *cli, int error, const char *message, const char *format, ...)
{
    CLEANUP_FREE char *before = NULL;
    va_list arguments;

    if (asprintf(&before, "%s; ", message) < 0)
        before = NULL;
    va_start(arguments, format);
    report_line(cli, before ? before : "", "", format, arguments);
    va_end(arguments);
    return report_hint(cli, error);
}

int report_errno(const struct cli *cli, int error, const char *format, ...)
{
    CLEANUP_FREE char *after = NULL;
    va_list arguments;

    if (asprintf(&after, ": %s", blkd_strerror(error)) < 0)
        after = NULL;
    va_start(arguments, format);
    report_line(cli, "", after ? after : "", format, arguments);
    va_end(arguments);
    return report_exit_code(error);
}

int report_failure(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_line(cli, "", "", format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

void report_warning(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_line(cli, "warning: ", "", format, arguments);
    va_end(arguments);
}
