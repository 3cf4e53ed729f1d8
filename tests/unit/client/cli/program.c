/* SPDX-License-Identifier: MIT */
#include "tests/unit/client/cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

enum { ARGUMENTS_MAX = 16 };

struct fake fake;
struct run run;

void program_start(const char *const *words)
{
    const char *program = getenv("BLKD_CLI");
    char *argv[ARGUMENTS_MAX + 2] = {(char[]){"blkd-cli"}};
    int in[2], out[2], err[2];
    int count = 1;

    ck_assert_msg(program != NULL, "BLKD_CLI does not tell where blkd-cli is: run it by ctest");
    ck_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
              pipe2(err, O_CLOEXEC) == 0);
    for (; *words; words++) {
        ck_assert_int_lt(count, ARGUMENTS_MAX);
        argv[count++] = strdup(*words);
    }
    memset(&run, 0, sizeof(run));
    run.pid = fork();
    ck_assert_int_ge(run.pid, 0);
    if (run.pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(err[1], STDERR_FILENO);
        (void)setenv("BLKD_SOCKET", fake.path, 1);
        /* Whoever runs the tests in the background ignores it, and a shell cannot trap it then. */
        (void)signal(SIGINT, SIG_DFL);
        (void)execv(program, argv);
        _exit(99);
    }
    while (--count > 0)
        free(argv[count]);
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(err[1]);
    run.in_fd = in[1];
    run.out_fd = out[0];
    run.err_fd = err[0];
}

/* False: end of file. */
static bool gather(int fd, char *text, size_t *bytes)
{
    ssize_t n = read(fd, text + *bytes, PROGRAM_OUTPUT_MAX - 1 - *bytes);

    ck_assert_int_ge(n, 0);
    *bytes += (size_t)n;
    return n > 0;
}

void program_wait_for(const char *text)
{
    while (strstr(run.out, text) == NULL && strstr(run.err, text) == NULL) {
        struct pollfd fds[] = {{run.out_fd, POLLIN, 0}, {run.err_fd, POLLIN, 0}};
        bool more = true;

        ck_assert_int_gt(poll(fds, 2, 60000), 0);
        if (fds[0].revents)
            more = gather(run.out_fd, run.out, &run.out_bytes);
        else
            more = gather(run.err_fd, run.err, &run.err_bytes);
        ck_assert_msg(more, "it ended without '%s': %s%s", text, run.out, run.err);
    }
}

void program_finish(void)
{
    int status;

    while (gather(run.out_fd, run.out, &run.out_bytes))
        ;
    while (gather(run.err_fd, run.err, &run.err_bytes))
        ;
    ck_assert_int_eq(waitpid(run.pid, &status, 0), run.pid);
    run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    (void)close(run.in_fd);
    (void)close(run.out_fd);
    (void)close(run.err_fd);
    fake_stop(&fake);
}

void check_code(int expected)
{
    ck_assert_msg(run.code == expected, "exit code %d, not %d: %s%s", run.code, expected, run.out,
                  run.err);
}

void check_has(const char *output, const char *part)
{
    ck_assert_msg(strstr(output, part) != NULL, "no '%s' in: %s", part, output);
}

void check_lacks(const char *output, const char *part)
{
    ck_assert_msg(strstr(output, part) == NULL, "'%s' in: %s", part, output);
}
