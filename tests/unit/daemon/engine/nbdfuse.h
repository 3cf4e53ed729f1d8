/* SPDX-License-Identifier: MIT */
/*
 * A file on FUSE: nbdkit serves it, nbdfuse mounts it. These run in the parent of the tests, as
 * unchecked fixtures, so that nothing is left behind whatever becomes of a test.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_ENGINE_NBDFUSE_H
#define BLKD_TESTS_UNIT_DAEMON_ENGINE_NBDFUSE_H

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char nbdfuse_directory[] = "/tmp/blkd-nbdfuse-XXXXXX";
static char nbdfuse_mount[64], nbdfuse_file[80], nbdfuse_pid_file[80];
static pid_t server; /* 0: there is none */

/* Until it is true, for what is shown but not announced. The test's time limit ends it. */
static inline void wait_until(bool (*condition)(void))
{
    const struct timespec pause = {.tv_nsec = 5000000};

    while (!condition())
        nanosleep(&pause, NULL);
}

static inline bool nbdfuse_is_up(void)
{
    return access(nbdfuse_pid_file, F_OK) == 0 || waitpid(server, NULL, WNOHANG) != 0;
}

/* `plugin` follows "nbdkit --exit-with-parent", eight words at the most. False: it does not run,
 * `server` is 0. */
static inline bool nbdfuse_start(const char *const plugin[])
{
    const char *words[16] = {"nbdfuse", "-P",     nbdfuse_pid_file,    nbdfuse_file,
                             "[",       "nbdkit", "--exit-with-parent"};
    size_t count = 7;

    ck_assert_ptr_nonnull(mkdtemp(nbdfuse_directory));
    snprintf(nbdfuse_mount, sizeof(nbdfuse_mount), "%s/mnt", nbdfuse_directory);
    snprintf(nbdfuse_file, sizeof(nbdfuse_file), "%s/disk", nbdfuse_mount);
    snprintf(nbdfuse_pid_file, sizeof(nbdfuse_pid_file), "%s/pid", nbdfuse_directory);
    ck_assert_int_eq(mkdir(nbdfuse_mount, 0700), 0);
    for (size_t i = 0; plugin[i] != NULL; i++)
        words[count++] = plugin[i];
    words[count] = "]";
    server = fork();
    ck_assert_int_ge(server, 0);
    if (server == 0) {
        execvp(words[0], (char *const *)(uintptr_t)words);
        _exit(127);
    }
    wait_until(nbdfuse_is_up);
    if (access(nbdfuse_file, F_OK) == 0)
        return true;
    server = 0;
    return false;
}

static inline void nbdfuse_end(void)
{
    if (server != 0) {
        kill(server, SIGCONT);
        kill(server, SIGTERM);
        waitpid(server, NULL, 0);
    }
    unlink(nbdfuse_pid_file);
    rmdir(nbdfuse_mount);
    rmdir(nbdfuse_directory);
}

#endif
