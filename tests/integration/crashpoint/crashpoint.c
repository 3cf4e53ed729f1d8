/* SPDX-License-Identifier: MIT */
/*
 * For LD_PRELOAD: ends a program, as kill -9 does, at a step of its work on a directory, and notes
 * what a power cut would have left of it.
 *
 *   CRASHPOINT_DIRECTORY  the directory; calls on it and below it are the steps
 *   CRASHPOINT_AT         the number of the step, from 1; 0: none
 *   CRASHPOINT_WHEN       before, during (a write: half of it is written) or after it
 *   CRASHPOINT_NOTES      where, with each sync that succeeds, is noted what is durable by it:
 *                         data.INODE, a file's contents; names.INODE, a directory's "INODE NAME"s
 *
 * For programs with one thread. Makes its own system calls, since the library's names are taken.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum moment { BEFORE, DURING, AFTER };

static unsigned long crash_at;
static enum moment crash_when;
static const char *directory;
static const char *notes;
static unsigned long step;

__attribute__((constructor)) static void read_environment(void)
{
    const char *at = getenv("CRASHPOINT_AT");
    const char *when = getenv("CRASHPOINT_WHEN");
    directory = getenv("CRASHPOINT_DIRECTORY");
    notes = getenv("CRASHPOINT_NOTES");
    crash_at = at != NULL ? strtoul(at, NULL, 10) : 0;
    crash_when = when != NULL && strcmp(when, "during") == 0  ? DURING
                 : when != NULL && strcmp(when, "after") == 0 ? AFTER
                                                              : BEFORE;
}

static bool is_below(const char *path)
{
    size_t length = directory != NULL ? strlen(directory) : 0;
    return length > 0 && strncmp(path, directory, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

static bool is_watched_fd(int fd)
{
    char link[64];
    char path[PATH_MAX];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlink, link, path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = '\0';
    return is_below(path);
}

static bool is_watched(int fd, const char *path)
{
    return path[0] == '/' || fd == AT_FDCWD ? is_below(path) : is_watched_fd(fd);
}

static void crash(void)
{
    (void)syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

static void come_to(enum moment when)
{
    if (step == crash_at && when == crash_when)
        crash();
}

/* Around a call: whether it is a step, and then before it and after it. */
static bool enter(bool watched)
{
    if (watched) {
        step++;
        come_to(BEFORE);
    }
    return watched;
}

static long leave(bool watched, long result)
{
    int error = errno;
    if (watched)
        come_to(AFTER);
    errno = error;
    return result;
}

static int open_note(const char *kind, unsigned long inode)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s.%lu", notes, kind, inode);
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
}

static void note_data(int fd, unsigned long inode)
{
    char path[64];
    char buffer[4096];
    long got = 0;
    int note = open_note("data", inode);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int source = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    while ((got = syscall(SYS_read, source, buffer, sizeof(buffer))) > 0)
        (void)syscall(SYS_write, note, buffer, got);
    (void)syscall(SYS_close, source);
    (void)syscall(SYS_close, note);
}

static void note_names(int fd, unsigned long inode)
{
    char path[64];
    char line[PATH_MAX];
    int note = open_note("names", inode);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    DIR *entries = opendir(path);
    const struct dirent *entry = NULL;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        int length = snprintf(line, sizeof(line), "%lu %s\n", entry->d_ino, entry->d_name);
        (void)syscall(SYS_write, note, line, length);
    }
    if (entries != NULL)
        (void)closedir(entries);
    (void)syscall(SYS_close, note);
}

static int sync_and_note(int fd, long number)
{
    struct stat info;
    bool watched = enter(is_watched_fd(fd));
    long result = syscall(number, fd);
    if (watched && result == 0 && notes != NULL && fstat(fd, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            note_names(fd, info.st_ino);
        else
            note_data(fd, info.st_ino);
    }
    return (int)leave(watched, result);
}

/* The C library's parameters have reserved names.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
int fsync(int fd)
{
    return sync_and_note(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_and_note(fd, SYS_fdatasync);
}

static int open_at(int fd, const char *path, int flags, mode_t mode)
{
    bool watched = enter(is_watched(fd, path));
    return (int)leave(watched, syscall(SYS_openat, fd, path, flags, mode));
}

#define MODE_OF(last)                                                                              \
    ({                                                                                             \
        va_list arguments_;                                                                        \
        va_start(arguments_, last);                                                                \
        mode_t mode_ = ((last) & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments_, mode_t) : 0;   \
        va_end(arguments_);                                                                        \
        mode_;                                                                                     \
    })

int open(const char *path, int flags, ...)
{
    return open_at(AT_FDCWD, path, flags, MODE_OF(flags));
}

int openat(int fd, const char *path, int flags, ...)
{
    return open_at(fd, path, flags, MODE_OF(flags));
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    bool watched = enter(is_watched_fd(fd));
    if (watched && step == crash_at && crash_when == DURING) {
        (void)syscall(SYS_write, fd, bytes, count / 2);
        crash();
    }
    return leave(watched, syscall(SYS_write, fd, bytes, count));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    bool watched = enter(is_watched_fd(fd));
    if (watched && step == crash_at && crash_when == DURING) {
        (void)syscall(SYS_pwrite64, fd, bytes, count / 2, offset);
        crash();
    }
    return leave(watched, syscall(SYS_pwrite64, fd, bytes, count, offset));
}

int ftruncate(int fd, off_t length)
{
    bool watched = enter(is_watched_fd(fd));
    return (int)leave(watched, syscall(SYS_ftruncate, fd, length));
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    bool watched = enter(is_watched(from_fd, from) || is_watched(to_fd, to));
    return (int)leave(watched, syscall(SYS_renameat2, from_fd, from, to_fd, to, 0));
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int fd, const char *path, int flags)
{
    bool watched = enter(is_watched(fd, path));
    return (int)leave(watched, syscall(SYS_unlinkat, fd, path, flags));
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    bool watched = enter(is_watched(fd, path));
    return (int)leave(watched, syscall(SYS_mkdirat, fd, path, mode));
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int close(int fd)
{
    bool watched = enter(is_watched_fd(fd));
    return (int)leave(watched, syscall(SYS_close, fd));
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
