/* SPDX-License-Identifier: MIT */
/*
 * What some tests need of the machine: asked before they begin, by trying it. Where it is missing,
 * they are left out and the output says why.
 */
#ifndef BLKD_TESTS_UNIT_NEEDS_H
#define BLKD_TESTS_UNIT_NEEDS_H

#include <check.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/unit/loop.h"

/* Says what is skipped and why. */
__attribute__((format(printf, 2, 3))) static inline void skipped(const char *what,
                                                                 const char *format, ...)
{
    va_list arguments;
    printf("skipped: %s: ", what);
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    (void)fflush(stdout); /* before Check forks, or each child says it again */
}

static inline bool have_root(const char *what)
{
    if (geteuid() != 0)
        skipped(what, "needs root");
    return geteuid() == 0;
}

static inline bool have_loops(const char *what)
{
    char path[32];
    if (!have_root(what))
        return false;
    const int file = memfd_create("probe", MFD_CLOEXEC);
    const int loop = file >= 0 && ftruncate(file, 1 << 20) == 0
                         ? loop_attach(file, 0, 0, path, sizeof(path))
                         : -errno;
    if (loop < 0)
        skipped(what, "needs a loop device: %s", strerror(-loop));
    else
        (void)close(loop);
    if (file >= 0)
        (void)close(file);
    return loop >= 0;
}

/* Mounts in a namespace of the test's own. */
static inline bool have_mounts(const char *what)
{
    int status = 0;
    if (!have_root(what))
        return false;
    const pid_t child = fork();
    if (child == 0) {
        errno = 0;
        if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
            (void)mount("probe", "/mnt", "tmpfs", 0, NULL);
        _exit(errno);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        skipped(what, "needs mounts: %s", strerror(child < 0 ? errno : WEXITSTATUS(status)));
    return child >= 0 && status == 0;
}

static inline bool have_fuse(const char *what)
{
    const int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0)
        skipped(what, "needs /dev/fuse: %s", strerror(errno));
    else
        (void)close(fuse);
    return fuse >= 0;
}

static inline bool have_program(const char *what, const char *program)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
    const bool found = system(command) == 0; /* NOLINT(cert-env33-c): a test's own words */
    if (!found)
        skipped(what, "needs %s", program);
    return found;
}

/* A kernel that has it, or can load it. */
static inline bool have_filesystem(const char *what, const char *type)
{
    char command[128];
    (void)snprintf(command, sizeof(command),
                   "modprobe -q %s 2>/dev/null; grep -qw %s /proc/filesystems", type, type);
    const bool found = system(command) == 0; /* NOLINT(cert-env33-c): a test's own words */
    if (!found)
        skipped(what, "needs the file system %s in the kernel", type);
    return found;
}

static inline bool have_zram(const char *what)
{
    const bool found = access("/sys/class/zram-control/hot_add", R_OK) == 0;
    if (!found)
        skipped(what, "needs the kernel module zram, and root");
    return found;
}

#endif
