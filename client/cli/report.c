/* SPDX-License-Identifier: MIT */
#include "client/cli/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

/* A flush that fails here leaves nothing for the last one to find out. */
static int stdout_error;

int report_stdout_error(void)
{
    return stdout_error;
}

/* "blkd-cli: COMMAND: BEFORE TEXT AFTER" */
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
    /* Keeps the order where both streams are one terminal. */
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

/* What to do about it, with the separator before it; "" if there is nothing general to say. */
static const char *report_hint(const struct cli *cli, int error)
{
    if (!cli->connection)
        return ""; /* the library's message says it */
    switch (error) {
    case -EBUSY:
        return "; see 'blkd-cli why DEVICE'";
    case -EACCES:
    case -EPERM:
        if (cli->command && (cli->command->groups & OPTIONS_ADMIN))
            return "; run it as root or as the daemon's user";
        return "; check the owner and mode of the device";
    case -EROFS:
        return "; see 'blkd-cli info DEVICE'";
    case -ESTALE:
        return "; the lock was taken away, so check the contents before you write again";
    case -ENOTCONN:
    case -ESHUTDOWN:
        return "; unanswered requests may or may not have been done";
    default:
        return "";
    }
}

static int report_library_code(const struct cli *cli, int error)
{
    return cli->connection ? report_exit_code(error) : CLI_UNREACHABLE;
}

int report_usage(const struct cli *cli, const char *format, ...)
{
    const char *topic = cli->command ? cli->command->name : cli->group;
    CLEANUP_FREE char *after = NULL;
    va_list arguments;

    if (asprintf(&after, " (see 'blkd-cli %s%s--help')", topic ? topic : "", topic ? " " : "") < 0)
        after = NULL;
    va_start(arguments, format);
    report_line(cli, "", after ? after : "", format, arguments);
    va_end(arguments);
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

/* For programs, on stdout: what report_text says to people. */
static void report_json(const struct cli *cli, int error, const char *message,
                        enum blkd_reason reason)
{
    struct json json = JSON_INIT(stdout);

    if (!cli->options.json)
        return;
    json_open(&json, NULL, '{');
    json_open(&json, "error", '[');
    json_open(&json, NULL, '{');
    json_text(&json, "errno", strerrorname_np(-error));
    json_text(&json, "reason", words_reason(reason));
    json_text(&json, "message", message);
    json_close(&json, '}');
    json_close(&json, ']');
    json_close(&json, '}');
    (void)putchar('\n');
}

int report_library(const struct cli *cli, int error)
{
    report_json(cli, error, blkd_error_message(), blkd_error_reason());
    report_text(cli, "%s%s", blkd_error_message(), report_hint(cli, error));
    return report_library_code(cli, error);
}

int report_partial(const struct cli *cli, int error, const char *message, enum blkd_reason reason,
                   const char *format, ...)
{
    CLEANUP_FREE char *before = NULL;
    va_list arguments;

    report_json(cli, error, message, reason);
    if (asprintf(&before, "%s; ", message) < 0)
        before = NULL;
    va_start(arguments, format);
    /* -EBUSY: the library's message names the holder. */
    report_line(cli, before ? before : "", error == -EBUSY ? "" : report_hint(cli, error), format,
                arguments);
    va_end(arguments);
    return report_library_code(cli, error);
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

int report_output(const struct cli *cli, int error, const char *name)
{
    return report_failure(cli, "cannot write to %s: %s", name, strerror(-error));
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
