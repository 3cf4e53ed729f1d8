/* SPDX-License-Identifier: MIT */
/*
 * What integration tests stand on: a daemon of the test's own, directories, loop and zram devices.
 *
 * All functions are called from a Check test and fail it when they cannot do what they are asked
 * for. What they made goes when the test's process ends, in whatever way: one that succeeds gives
 * it back itself at its exit; for one that fails, hangs or crashes harness_main does; where that is
 * killed, too, a process does that waits for it. The log of a daemon that harness_daemon_stop has
 * not approved of is printed then.
 */
#ifndef BLKD_TESTS_HARNESS_H
#define BLKD_TESTS_HARNESS_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/blkd.h"

enum { HARNESS_PATH_MAX = 128, HARNESS_SKIP = 77 };

/* Runs the suite. Returns the program's exit code: 0, 1, or HARNESS_SKIP if every test was skipped.
 */
int harness_main(Suite *suite);

/* Says why the test proves nothing here; the test then returns. */
void harness_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* As root: true. Otherwise skips the test. */
bool harness_needs_root(void);
/* Printed if the test fails: which of several places or variants it was about. */
void harness_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- files ---- */

/* The test's own directory, for the daemon's socket and for files: in /tmp, and on a tmpfs. They
 * are made when they are first asked for. */
const char *harness_directory(void);
const char *harness_memory_directory(void);

/* directory/name. `ret_path` has HARNESS_PATH_MAX bytes, here and below. */
void harness_join(const char *directory, const char *name, char *ret_path);
/* A sparse file of this size. `directory` and `ret_path` do not overlap. */
void harness_make_file(const char *directory, const char *name, uint64_t size_bytes,
                       char *ret_path);

/* The text of the file, to be freed. */
char *harness_read_text(const char *path);

/* ---- the daemon ---- */

struct harness_daemon {
    pid_t pid; /* 0: it does not run */
    int pidfd;
    char socket_path[HARNESS_PATH_MAX];
    char log_path[HARNESS_PATH_MAX];
};

/*
 * Starts $BLKD_BIN (default: the build tree's) with `--socket` and `--engine $BLKD_ENGINE` on a
 * socket of its own that everybody may connect to, and returns when it accepts connections.
 * `options`: more of them, NULL at the end; or NULL.
 */
void harness_daemon_start(struct harness_daemon *daemon, const char *const *options);
/* The same on a socket of the caller's choice. Returns 0, or the exit code of a daemon that ended
 * instead of serving; its log is in daemon->log_path then. */
int harness_daemon_try_start(struct harness_daemon *daemon, const char *socket_path,
                             const char *const *options);
/* Sends SIGTERM; the daemon must end with exit code 0, and no sanitizer may have reported anything.
 */
void harness_daemon_stop(struct harness_daemon *daemon);
/* Sends the signal and waits for the end; returns the status as waitpid does. The log is kept. */
int harness_daemon_end(struct harness_daemon *daemon, int signal);
/* The daemon was expected to fail: its log is not printed. */
void harness_daemon_forget_log(struct harness_daemon *daemon);

struct blkd *harness_connect(const struct harness_daemon *daemon);

/* ---- devices; as root ---- */

struct harness_loop {
    int fd;
    unsigned int number;
    char path[32];
};

/* Whether loop devices can be had here; otherwise skips the test. */
bool harness_needs_loop(void);
/* Detached by harness_loop_detach or the end of the test, when the daemon has closed it. */
void harness_loop_attach(struct harness_loop *loop, const char *file, unsigned int block_bytes,
                         bool read_only);
void harness_loop_detach(struct harness_loop *loop);

struct harness_zram {
    unsigned int number;
    char path[32];
};

/* False: none can be had here, and the test is skipped. */
bool harness_zram_add(struct harness_zram *zram, uint64_t size_bytes);
/* The daemon must have closed it. */
void harness_zram_remove(const struct harness_zram *zram);

/* ---- limits on the daemon's time ---- */

/* 1 on a quiet machine; N where the same things take N times as long now. Takes 30 ms or so. */
double harness_slowness(void);
/* Before something whose time is limited: remembers how slow the machine is, if it has not just
 * been measured. Each daemon's start does this. */
void harness_pace_look(void);
/* Whether it was done within the limit, or the machine is or was too busy to say that it should
 * have been. */
bool harness_in_time(uint64_t took_ms, uint64_t limit_ms);

/* ---- between the harness's own files ---- */

/* Gives back what tests under this directory have left: zram devices, mounts, files. Prints logs.
 */
void harness_clean_up(const char *directory);
/* A name in the test's directory that tells harness_clean_up what to undo. */
void harness_remember(const char *name);
void harness_forget(const char *name);
void harness_pace_begin(void);
void harness_device_undo(const char *name);
void harness_device_clean_up(void);
void harness_daemon_clean_up(void);

#endif
