/* SPDX-License-Identifier: MIT */
/*
 * For tests of what other programs do to devices: files and loop devices that go away with the
 * test, children that hold something until they are told to end, and programs that are run.
 * Each test runs in a process of its own, with mounts of its own.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_FIXTURE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/storage/backend.h"
#include "tests/unit/needs.h"

enum { FIXTURE_MIB = 1024 * 1024 };

static char fixture_directory[64];

/* A directory of the test's own, and mounts that end with it. Where there can be none
 * (have_mounts), files do without. */
static inline void fixture_setup(void)
{
    (void)snprintf(fixture_directory, sizeof(fixture_directory), "/tmp/blkd-outside-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fixture_directory));
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
        ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
}

/* Runs a shell command; its exit status. */
__attribute__((format(printf, 1, 2))) static inline int fixture_run(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    int status = system(command); /* NOLINT(cert-env33-c): a test's own words */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void fixture_teardown(void)
{
    (void)fixture_run("umount %s/mnt 2>/dev/null; rm -rf %s", fixture_directory, fixture_directory);
}

static inline const char *fixture_path(const char *name)
{
    static char paths[8][128];
    static unsigned int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", fixture_directory, name);
    return path;
}

static inline const char *fixture_file(const char *name, off_t size)
{
    const char *path = fixture_path(name);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    ck_assert_int_eq(close(fd), 0);
    return path;
}

/* A loop device that goes away with the last descriptor; *ret_path is its node. */
static inline int fixture_loop(const char *backing, uint32_t flags, char *ret_path, size_t size)
{
    const int file = open(backing, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(file, 0);
    const int fd = loop_attach(file, 0, flags, ret_path, size);
    ck_assert_msg(fd >= 0, "no loop device for %s: %s", backing, strerror(-fd));
    (void)close(file);
    return fd;
}

static inline struct device_identity fixture_identity(const char *path)
{
    struct stat status;
    ck_assert_msg(stat(path, &status) == 0, "%s: %s", path, strerror(errno));
    if (S_ISBLK(status.st_mode))
        return (struct device_identity){.kind = DEVICE_BLOCK, .dev = status.st_rdev};
    return (struct device_identity){
        .kind = DEVICE_FILE, .dev = status.st_dev, .inode = status.st_ino};
}

/* ---- children that hold something ---- */

struct fixture_child {
    pid_t pid;
    int word; /* closed: it ends */
};

/* Runs `hold` in a child, which lives until it is ended; returns when `hold` has. */
static inline struct fixture_child fixture_hold(void (*hold)(const char *path), const char *path)
{
    int to_child[2];
    int from_child[2];
    char byte = 0;
    ck_assert_int_eq(pipe2(to_child, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(from_child, O_CLOEXEC), 0);
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)close(to_child[1]);
        hold(path);
        if (write(from_child[1], &byte, 1) == 1)
            (void)!read(to_child[0], &byte, 1);
        _exit(0);
    }
    (void)close(to_child[0]);
    (void)close(from_child[1]);
    ck_assert_int_eq(read(from_child[0], &byte, 1), 1);
    (void)close(from_child[0]);
    return (struct fixture_child){.pid = pid, .word = to_child[1]};
}

static inline void fixture_end(const struct fixture_child *child)
{
    (void)close(child->word);
    ck_assert_int_eq(waitpid(child->pid, NULL, 0), child->pid);
}

static inline void fixture_must(bool worked)
{
    if (!worked)
        _exit(1);
}

static inline void hold_flock_exclusive(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
}

static inline void hold_flock_shared(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0);
}

static inline void hold_exclusive_open(const char *path)
{
    fixture_must(open(path, O_RDWR | O_EXCL | O_CLOEXEC) >= 0);
}

#endif
