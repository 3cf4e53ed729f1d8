/* SPDX-License-Identifier: MIT */
/* A daemon of a test's own, from its start to the proof that it ended well. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "harness.h"

enum {
    DAEMONS_MAX = 4,      /* of one test */
    OPTIONS_MAX = 16,     /* of one daemon */
    START_MS = 30 * 1000, /* sanitizers on a busy machine */
    STOP_MS = 60 * 1000,
};

static struct harness_daemon *running[DAEMONS_MAX];
static unsigned int started; /* daemons, for the names of their logs */

static void remember_daemon(struct harness_daemon *daemon)
{
    for (unsigned int i = 0; i < DAEMONS_MAX; i++) {
        if (running[i] == NULL) {
            running[i] = daemon;
            return;
        }
    }
    ck_abort_msg("a test has at most %d daemons", DAEMONS_MAX);
}

static void forget_daemon(const struct harness_daemon *daemon)
{
    for (unsigned int i = 0; i < DAEMONS_MAX; i++)
        if (running[i] == daemon)
            running[i] = NULL;
}

/* ---- starting ---- */

/* Where sd_notify(3) sends its words: the daemon says when it serves, no need to guess. */
static int notify_open(char path[HARNESS_PATH_MAX])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(path, HARNESS_PATH_MAX, "%s/notify.%u", harness_directory(), started);
    ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Each has a state directory of its own, unless the options name one that it is to take over. */
static _Noreturn void run_daemon(const struct harness_daemon *daemon, const char *notify_path,
                                 const char *const *options)
{
    const char *program = getenv("BLKD_BIN");
    const char *engine = getenv("BLKD_ENGINE");
    char state_path[HARNESS_PATH_MAX];
    (void)snprintf(state_path, sizeof(state_path), "%s/state%u", harness_directory(), started);
    const char *arguments[OPTIONS_MAX + 8] = {"blkd",
                                              "--socket",
                                              daemon->socket_path,
                                              "--state-dir",
                                              state_path,
                                              "--engine",
                                              engine != NULL ? engine : "auto"};
    unsigned int count = 7;
    int log = open(daemon->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    while (options != NULL && *options != NULL && count < OPTIONS_MAX)
        arguments[count++] = *options++;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (program == NULL)
        program = BLKD_BIN_DEFAULT;
    if (log >= 0 && dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0 &&
        setenv("NOTIFY_SOCKET", notify_path, 1) == 0)
        (void)execv(program, (char *const *)(uintptr_t)arguments);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
    _exit(127);
}

/* Until one of them is ready. False: the limit is over, and this machine is not to blame. */
static bool poll_in_time(struct pollfd *fds, nfds_t count, int limit_ms)
{
    for (uint64_t waited_ms = 0;; waited_ms += (uint64_t)limit_ms) {
        int ready = poll(fds, count, limit_ms);
        if (ready > 0)
            return true;
        if (ready == 0 && !harness_in_time(waited_ms + (uint64_t)limit_ms, (uint64_t)limit_ms))
            return false;
    }
}

/* True: it said that it serves. False: it has ended. */
static bool wait_ready(const struct harness_daemon *daemon, int notify)
{
    for (;;) {
        char words[512] = "";
        struct pollfd fds[2] = {{.fd = notify, .events = POLLIN},
                                {.fd = daemon->pidfd, .events = POLLIN}};
        ck_assert_msg(poll_in_time(fds, 2, START_MS), "the daemon does not say that it is ready");
        if ((fds[0].revents & POLLIN) != 0) {
            ck_assert_int_gt(recv(notify, words, sizeof(words) - 1, 0), 0);
            if (strstr(words, "READY=1") != NULL)
                return true;
        } else if (fds[1].revents != 0) {
            return false;
        }
    }
}

static int wait_end(struct harness_daemon *daemon)
{
    struct pollfd pollfd = {.fd = daemon->pidfd, .events = POLLIN};
    int status = 0;
    ck_assert_msg(poll_in_time(&pollfd, 1, STOP_MS), "the daemon has not ended after %d ms",
                  STOP_MS);
    ck_assert_int_eq(waitpid(daemon->pid, &status, 0), daemon->pid);
    (void)close(daemon->pidfd);
    daemon->pid = 0;
    forget_daemon(daemon);
    return status;
}

int harness_daemon_try_start(struct harness_daemon *daemon, const char *socket_path,
                             const char *const *options)
{
    char notify_path[HARNESS_PATH_MAX];
    *daemon = (struct harness_daemon){.pidfd = -1};
    (void)snprintf(daemon->socket_path, sizeof(daemon->socket_path), "%s", socket_path);
    (void)snprintf(daemon->log_path, sizeof(daemon->log_path), "%s/daemon%u.log",
                   harness_directory(), ++started);
    CLEANUP_CLOSE int notify = notify_open(notify_path);

    harness_pace_look();
    remember_daemon(daemon);
    daemon->pid = fork();
    ck_assert_int_ge(daemon->pid, 0);
    if (daemon->pid == 0)
        run_daemon(daemon, notify_path, options);
    daemon->pidfd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
    ck_assert_int_ge(daemon->pidfd, 0);
    bool ready = wait_ready(daemon, notify);
    (void)unlink(notify_path);
    if (!ready) {
        int status = wait_end(daemon);
        ck_assert_msg(WIFEXITED(status), "the daemon was ended by signal %d", WTERMSIG(status));
        return WEXITSTATUS(status);
    }
    ck_assert_int_eq(chmod(socket_path, 0666), 0);
    return 0;
}

void harness_daemon_start(struct harness_daemon *daemon, const char *const *options)
{
    char socket_path[HARNESS_PATH_MAX];
    (void)snprintf(socket_path, sizeof(socket_path), "%s/blkd.sock", harness_directory());
    int code = harness_daemon_try_start(daemon, socket_path, options);
    ck_assert_msg(code == 0, "the daemon ended with exit code %d instead of serving", code);
    blkd_disconnect(harness_connect(daemon));
}

struct blkd *harness_connect(const struct harness_daemon *daemon)
{
    struct blkd_options options = {0};
    struct blkd *connection = NULL;
    options.socket_path = daemon->socket_path;
    int error = blkd_connect(&options, &connection);
    ck_assert_msg(error == 0, "cannot connect: %s", blkd_error_message());
    return connection;
}

/* ---- ending ---- */

static bool has_sanitizer_report(const char *log_path)
{
    static const char *const signs[] = {"AddressSanitizer", "LeakSanitizer", "ThreadSanitizer",
                                        "UndefinedBehaviorSanitizer", "runtime error:"};
    CLEANUP_FREE char *text = harness_read_text(log_path);
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (strstr(text, signs[i]) != NULL)
            return true;
    return false;
}

int harness_daemon_end(struct harness_daemon *daemon, int signal)
{
    ck_assert_int_gt(daemon->pid, 0);
    ck_assert_int_eq(kill(daemon->pid, signal), 0);
    return wait_end(daemon);
}

void harness_daemon_stop(struct harness_daemon *daemon)
{
    int status = harness_daemon_end(daemon, SIGTERM);
    ck_assert_msg(WIFEXITED(status), "the daemon was ended by signal %d", WTERMSIG(status));
    ck_assert_msg(!has_sanitizer_report(daemon->log_path), "a sanitizer has found something");
    ck_assert_msg(WEXITSTATUS(status) == 0, "the daemon ended with exit code %d",
                  WEXITSTATUS(status));
    harness_daemon_forget_log(daemon);
}

void harness_daemon_forget_log(struct harness_daemon *daemon)
{
    ck_assert_msg(!has_sanitizer_report(daemon->log_path), "a sanitizer has found something");
    (void)unlink(daemon->log_path);
}

/* Of a test that failed. */
void harness_daemon_clean_up(void)
{
    for (unsigned int i = 0; i < DAEMONS_MAX; i++) {
        if (running[i] == NULL || running[i]->pid <= 0)
            continue;
        (void)kill(running[i]->pid, SIGKILL);
        (void)waitpid(running[i]->pid, NULL, 0);
        running[i] = NULL;
    }
}
