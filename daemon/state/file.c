/* SPDX-License-Identifier: MIT */
/*
 * See file.h. The order of calls is the promise: a file's contents are durable before it gets its
 * name, and the name is durable before the call says that it succeeded.
 */
#include "daemon/state/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { LEFTOVER_MARK = '~' }; /* not a character of keys */

static const char *file_advice(int error)
{
    switch (error) {
    case -ENOSPC:
    case -EDQUOT:
        return "free some space on its file system";
    case -EACCES:
    case -EPERM:
        return "give the daemon's user read and write permission, or use another directory "
               "(--state-dir)";
    case -EROFS:
        return "mount it read/write, or use another directory (--state-dir)";
    case -ENOENT:
        return "create the directory, or use another one (--state-dir)";
    case -EIO:
        return "the disk is failing: move the directory to another disk (--state-dir)";
    case -EMFILE:
    case -ENFILE:
        return "raise the limit on open files";
    default:
        return "fix this, or use another directory (--state-dir)";
    }
}

int file_explain(int error, const char *verb, const struct state_place *place, const char *name,
                 char message[STATE_MESSAGE_MAX])
{
    char words[128];
    (void)snprintf(message, STATE_MESSAGE_MAX, "cannot %s %s%s%s: %s: %s", verb, place->path,
                   *name != '\0' ? "/" : "", name, strerror_r(-error, words, sizeof(words)),
                   file_advice(error));
    return error;
}

int file_read(const struct state_place *place, const char *name, char *buffer, size_t size,
              char message[STATE_MESSAGE_MAX])
{
    CLEANUP_CLOSE int fd = openat(place->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0)
        return file_explain(-errno, "open", place, name, message);
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(fd, buffer + length, size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_explain(-errno, "read", place, name, message);
        if (got == 0) {
            buffer[length] = '\0';
            return memchr(buffer, '\0', length) == NULL
                       ? 0
                       : file_explain(-EILSEQ, "read", place, name, message);
        }
        length += (size_t)got;
    }
    return file_explain(-EFBIG, "read", place, name, message);
}

static int file_write(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

/* The new contents, durable, under the leftover's name. */
static int file_prepare(const struct state_place *place, const char *leftover, const char *text,
                        size_t length, char message[STATE_MESSAGE_MAX])
{
    CLEANUP_CLOSE int fd =
        openat(place->fd, leftover, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return file_explain(-errno, "create", place, leftover, message);
    int error = file_write(fd, text, length);
    if (error < 0)
        return file_explain(error, "write", place, leftover, message);
    if (fsync(fd) < 0)
        return file_explain(-errno, "sync", place, leftover, message);
    return 0;
}

int file_replace(const struct state_place *place, const char *name, const char *text, size_t length,
                 char message[STATE_MESSAGE_MAX])
{
    char leftover[NAME_MAX + 1];
    if (snprintf(leftover, sizeof(leftover), "%c%s", LEFTOVER_MARK, name) >= (int)sizeof(leftover))
        return file_explain(-ENAMETOOLONG, "write", place, name, message);
    if (unlinkat(place->fd, leftover, 0) < 0 && errno != ENOENT)
        return file_explain(-errno, "remove", place, leftover, message);
    int error = file_prepare(place, leftover, text, length, message);
    if (error == 0 && renameat(place->fd, leftover, place->fd, name) < 0)
        error = file_explain(-errno, "replace", place, name, message);
    if (error < 0) {
        (void)unlinkat(place->fd, leftover, 0); /* it takes space; else it does no harm */
        return error;
    }
    return file_sync_names(place, message);
}

int file_remove(const struct state_place *place, const char *name, char message[STATE_MESSAGE_MAX])
{
    if (unlinkat(place->fd, name, 0) < 0 && errno != ENOENT)
        return file_explain(-errno, "remove", place, name, message);
    return file_sync_names(place, message);
}

int file_sync_names(const struct state_place *place, char message[STATE_MESSAGE_MAX])
{
    if (fsync(place->fd) < 0)
        return file_explain(-errno, "sync", place, "", message);
    return 0;
}

static int file_sweep_entries(const struct state_place *place, DIR *entries,
                              int (*visit)(const char *, void *, char *), void *user_data,
                              char message[STATE_MESSAGE_MAX])
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(entries);
        if (entry == NULL)
            return errno == 0 ? 0 : file_explain(-errno, "list", place, "", message);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_name[0] == LEFTOVER_MARK) {
            (void)unlinkat(place->fd, entry->d_name, 0);
            continue;
        }
        int error = visit(entry->d_name, user_data, message);
        if (error < 0)
            return error;
    }
}

int file_sweep(const struct state_place *place,
               int (*visit)(const char *name, void *user_data, char *message), void *user_data,
               char message[STATE_MESSAGE_MAX])
{
    int fd = openat(place->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_explain(-errno, "list", place, "", message);
    DIR *entries = fdopendir(fd);
    if (entries == NULL) {
        int error = -errno;
        (void)close(fd);
        return file_explain(error, "list", place, "", message);
    }
    int error = file_sweep_entries(place, entries, visit, user_data, message);
    (void)closedir(entries);
    return error;
}
