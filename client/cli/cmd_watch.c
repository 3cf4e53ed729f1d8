/* SPDX-License-Identifier: MIT */
/*
 * `watch`: prints one line per event until SIGINT or SIGTERM (exit code 0) or until the daemon is
 * gone.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#include "client/cli/cli.h"
#include "client/cli/line.h"
#include "client/cli/report.h"
#include "common/cleanup.h"

static void on_event(void *user_data, const struct blkd_event *event)
{
    const struct cli *cli = user_data;

    if (event->type == BLKD_EVENT_SHUTTING_DOWN)
        report_warning(cli, "the daemon is stopping");
    if (event->type != BLKD_EVENT_HAPPENING)
        return;
    if (cli->options.json)
        line_print_json(event->happening, stdout);
    else
        line_print_text(event->happening, stdout);
    (void)fflush(stdout); /* a reader of the pipe wants events immediately */
}

static int watch_open_signals(void)
{
    sigset_t mask;
    int fd;

    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    fd = signalfd(-1, &mask, SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Returns the exit code. */
static int watch_loop(struct cli *cli, int signal_fd)
{
    struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN},
                           {.fd = blkd_get_fd(cli->connection), .events = POLLIN}};

    for (;;) {
        int r;

        /* A lost connection shows only here: its descriptor stays silent. */
        while ((r = blkd_dispatch(cli->connection, 0)) > 0)
            ;
        if (r < 0)
            return report_library(cli, r);
        if (ferror(stdout))
            return CLI_FAILED; /* reported when stdout is closed */
        (void)poll(fds, 2, -1);
        if (fds[0].revents != 0)
            return CLI_OK;
    }
}

int cmd_watch(struct cli *cli)
{
    CLEANUP_CLOSE int signal_fd = watch_open_signals();
    int error;
    int code;

    if (signal_fd < 0)
        return report_errno(cli, signal_fd, "cannot watch for signals");
    code = cli_connect(cli);
    if (code != CLI_OK)
        return code;
    error = blkd_set_event_callback(cli->connection, on_event, cli);
    if (!error)
        error = blkd_watch(cli->connection, true);
    if (error)
        return report_library(cli, error);
    return watch_loop(cli, signal_fd);
}
