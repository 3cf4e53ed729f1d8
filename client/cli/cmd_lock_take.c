/* SPDX-License-Identifier: MIT */
/*
 * `lock take`: runs a command while holding a lock, as flock(1) does, and exits as the command did.
 *
 * While the command runs, one loop watches signals and the connection. Signals from a terminal
 * reach the command without us. Signals that are sent to this process only are passed on. Either
 * way we wait for the command to end: the lock is held as long as it runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "client/cli/cli.h"
#include "client/cli/lock_request.h"
#include "client/cli/report.h"
#include "client/cli/target.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum {
    TAKE_CANNOT_RUN = 126, /* the shell's codes */
    TAKE_NOT_FOUND = 127,
    TAKE_SIGNAL_BASE = 128,
};

struct take {
    struct cli *cli;
    const char *path;
    pid_t child;
    sigset_t old_mask;
    int signal_fd;
    bool connected;
    bool lost; /* reported, and the child killed if that was requested */
};

static void take_lose(struct take *take, const char *why)
{
    if (take->lost)
        return;
    take->lost = true;
    report_warning(take->cli, "%s: lock lost while the command (pid %d) was running: %s",
                   take->path, (int)take->child, why);
    if (take->cli->options.kill_on_loss)
        (void)kill(take->child, SIGTERM);
}

static void on_event(void *user_data, const struct blkd_event *event)
{
    struct take *take = user_data;

    switch (event->type) {
    case BLKD_EVENT_LOCK_LOST:
        take_lose(take, words_lost(event->lost_reason));
        break;
    case BLKD_EVENT_EVICTED:
        take_lose(take, "an administrator evicted the session");
        break;
    case BLKD_EVENT_DISCONNECTED:
        take_lose(take, "the daemon stopped or closed the connection");
        break;
    default:
        break;
    }
}

/* The child's side; does not return. */
static void take_exec(const struct take *take, uint64_t token)
{
    const struct options *options = &take->cli->options;
    char text[24];
    int error;

    (void)snprintf(text, sizeof(text), "%" PRIu64, token);
    (void)sigprocmask(SIG_SETMASK, &take->old_mask, NULL);
    /* A lock that ends with us must not leave behind a command that relies on it. */
    if (options->kill_on_loss)
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (token != 0 ? setenv("BLKD_LOCK_TOKEN", text, 1) : unsetenv("BLKD_LOCK_TOKEN"))
        error = -errno;
    else {
        (void)execvp(options->rest[0], options->rest);
        error = -errno;
    }
    (void)report_errno(take->cli, error, "cannot run %s", options->rest[0]);
    _exit(error == -ENOENT ? TAKE_NOT_FOUND : TAKE_CANNOT_RUN);
}

/* Blocks the signals that are handled, and opens a signalfd for them. */
static int take_prepare(struct take *take)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
    sigset_t mask;

    (void)sigemptyset(&mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaddset(&mask, signals[i]);
    /* If inherited as ignored, the command's exit status would be lost. */
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigprocmask(SIG_BLOCK, &mask, &take->old_mask);
    take->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return take->signal_fd < 0 ? -errno : 0;
}

static void take_pass_on(const struct take *take)
{
    struct signalfd_siginfo info;

    while (read(take->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD && info.ssi_code != SI_KERNEL)
            (void)kill(take->child, (int)info.ssi_signo);
}

/* Until the child has ended; returns its wait status. */
static int take_watch(struct take *take)
{
    struct pollfd fds[] = {{.fd = take->signal_fd, .events = POLLIN},
                           {.fd = blkd_get_fd(take->cli->connection), .events = POLLIN}};
    int status;

    while (waitpid(take->child, &status, WNOHANG) == 0) {
        fds[1].fd = take->connected ? fds[1].fd : -1;
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents != 0)
            take_pass_on(take);
        if (fds[1].revents != 0 && blkd_dispatch(take->cli->connection, 0) < 0)
            take->connected = false;
    }
    return status;
}

static int take_run(struct take *take, uint64_t token)
{
    int status;
    int error = take_prepare(take);

    if (error)
        return report_errno(take->cli, error, "cannot watch for signals");
    take->child = fork();
    if (take->child == 0)
        take_exec(take, token);
    if (take->child < 0)
        return report_errno(take->cli, -errno, "cannot start %s", take->cli->options.rest[0]);
    status = take_watch(take);
    return WIFEXITED(status) ? WEXITSTATUS(status) : TAKE_SIGNAL_BASE + WTERMSIG(status);
}

int cmd_lock_take(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    struct blkd_lock_request request = lock_request_from_options(&cli->options, 0);
    struct take take = {.cli = cli, .signal_fd = -1, .connected = true};
    uint64_t token = 0;
    int error;
    int code = target_open_unlocked(cli, BLKD_ACCESS_AUTO, &target);

    if (code == CLI_OK)
        code = lock_request_take(cli, &target, &request, &token);
    if (code != CLI_OK)
        return code;
    take.path = target.config->path;
    error = blkd_set_event_callback(cli->connection, on_event, &take);
    if (error)
        return report_library(cli, error);
    code = take_run(&take, token);
    (void)blkd_set_event_callback(cli->connection, NULL, NULL);
    if (take.signal_fd >= 0)
        (void)close(take.signal_fd);
    return code;
}
