/* SPDX-License-Identifier: MIT */
/* For tests of the guard against other programs: what takes it, what is said of a refusal, and what
 * another program would meet. */
#ifndef BLKD_TESTS_UNIT_DAEMON_STORAGE_GUARD_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_STORAGE_GUARD_FIXTURE_H

#include <pthread.h>
#include <time.h>

#include "common/cleanup.h"
#include "daemon/storage/posix/posix.h"
#include "tests/unit/daemon/storage/outside_fixture.h"
#include "tests/unit/suite.h"

static char message[BACKEND_MESSAGE_MAX];

static inline struct posix *open_device(const char *path)
{
    const struct backend_open open_ = {.path = path, .fd = -1};
    struct backend *backend = NULL;
    struct backend_info info;
    int error = backend_posix_open(&open_, &backend, &info, message);
    ck_assert_msg(error == 0, "%s: %s", path, message);
    return posix_of(backend);
}

/* Changes the guard; *ret_kept is the mode that is said to be kept. */
static inline int change(struct posix *posix, enum guard_mode mode, enum guard_mode *ret_kept)
{
    struct io io = {.op = IO_GUARD, .guard_mode = mode, .message = message, .value = 77};
    message[0] = '\0';
    int error = posix_do_guard(posix, &io);
    *ret_kept = (enum guard_mode)io.value;
    return error;
}

static inline void take(struct posix *posix, enum guard_mode mode)
{
    enum guard_mode kept = GUARD_NONE;
    int error = change(posix, mode, &kept);
    ck_assert_msg(error == 0, "%s", message);
    ck_assert_int_eq(kept, mode);
}

static inline void refused(struct posix *posix, enum guard_mode mode, enum guard_mode expected)
{
    enum guard_mode kept = GUARD_NONE;
    ck_assert_int_eq(change(posix, mode, &kept), -EBUSY);
    ck_assert_int_eq(kept, expected);
}

static inline void said(const char *words)
{
    ck_assert_msg(strstr(message, words) != NULL, "\"%s\" is not in: %s", words, message);
}

static inline void said_pid(pid_t pid)
{
    char words[32];
    (void)snprintf(words, sizeof(words), "pid %d ", pid);
    said(words);
}

/* What another program's flock meets; a description of its own is another program to the kernel. */
static inline int try_flock(const char *path, int operation)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return flock(fd, operation | LOCK_NB) == 0 ? 0 : -errno;
}

static inline int try_exclusive(const char *path)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
    return fd >= 0 ? 0 : -errno;
}

static inline void *on_end_soon(void *context)
{
    const struct timespec moment = {.tv_nsec = 100000000L};
    (void)nanosleep(&moment, NULL);
    fixture_end(context);
    return NULL;
}

/* ---- a loop device ---- */

static char loop_path[32];
static int loop_fd = -1;

static inline void loop_setup(void)
{
    fixture_setup();
    loop_fd =
        fixture_loop(fixture_file("disk", 16L * FIXTURE_MIB), 0, loop_path, sizeof(loop_path));
}

static inline void loop_teardown(void)
{
    (void)close(loop_fd);
    fixture_teardown();
}

#endif
