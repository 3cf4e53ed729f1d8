/* SPDX-License-Identifier: MIT */
/*
 * The state directory's life: made, locked, looked through, and used.
 *
 * First start: `fencing` is written with 1 and is durable before failed/ is made, and failed/ is
 * durable before the first block of tokens is reserved, which raises the number in `fencing`. So a
 * start that was cut short anywhere is gone on with by the next, and
 *   failed/ without `fencing`              says that `fencing` was lost,
 *   `fencing` above 1 without failed/      says that the marks were lost,
 * neither of which is taken for a new directory.
 */
#include "daemon/state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/state/impl.h"

/* The directory, and what it lies in if that is missing; not more, so that a path that is wrong, or
 * a file system that is not mounted, is noticed. */
static int directory_make(const char *path)
{
    CLEANUP_FREE char *parent = NULL;
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return -errno;
    parent = strdup(path);
    if (parent == NULL)
        return -ENOMEM;
    char *end = parent + strlen(parent);
    while (end > parent && end[-1] == '/')
        end--;
    while (end > parent && end[-1] != '/')
        end--;
    *end = '\0';
    if (mkdir(parent, 0700) < 0 && errno != EEXIST)
        return -errno;
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* What others can change cannot be relied on. */
static int directory_check_owner(const struct state_place *place, char message[STATE_MESSAGE_MAX])
{
    struct stat info;
    if (fstat(place->fd, &info) < 0)
        return file_explain(-errno, "examine", place, "", message);
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) == 0 && (info.st_uid == geteuid() || info.st_uid == 0))
        return 0;
    (void)snprintf(message, STATE_MESSAGE_MAX,
                   "other users than the daemon's can change the state directory %s: chown it and "
                   "chmod it to 700, or use another one (--state-dir)",
                   place->path);
    return -EPERM;
}

/* The directory's own name, and its parent's, which this daemon or one that was killed may just
 * have made. One that may not be read was made by somebody else; so was a mount point. */
static int directory_sync_ancestor(const struct state_place *place, const char *ancestor,
                                   char message[STATE_MESSAGE_MAX])
{
    struct stat own;
    struct stat info;
    CLEANUP_CLOSE int fd = openat(place->fd, ancestor, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return 0;
    if (fd < 0 || fstat(fd, &info) < 0 || fstat(place->fd, &own) < 0)
        return file_explain(-errno, "open", place, ancestor, message);
    if (info.st_dev == own.st_dev && fsync(fd) < 0)
        return file_explain(-errno, "sync", place, ancestor, message);
    return 0;
}

static int directory_open(struct state *state, char message[STATE_MESSAGE_MAX])
{
    struct state_place *place = &state->place;
    int error = directory_make(state->path);
    if (error < 0)
        return file_explain(error, "create the state directory", place, "", message);
    place->fd = open(state->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->fd < 0)
        return file_explain(-errno, "open the state directory", place, "", message);
    error = directory_check_owner(place, message);
    if (error == 0)
        error = directory_sync_ancestor(place, "..", message);
    if (error == 0)
        error = directory_sync_ancestor(place, "../..", message);
    return error;
}

static int history_lost(const struct state *state, const char *name, const char *advice,
                        char message[STATE_MESSAGE_MAX])
{
    (void)snprintf(
        message, STATE_MESSAGE_MAX,
        "the state directory %s has been used before, but %s is missing: restore it, or %s",
        state->path, name, advice);
    return -EUCLEAN;
}

/* What an earlier daemon left. */
struct history {
    bool has_fencing;
    bool has_failed;
    uint64_t next; /* 1 without `fencing` */
};

static int history_read(const struct state *state, struct history *ret_history,
                        char message[STATE_MESSAGE_MAX])
{
    struct history history = {.next = 1};
    struct stat info;
    int error = fencing_read(&state->place, &history.next, message);
    if (error < 0 && error != -ENOENT)
        return error;
    history.has_fencing = error == 0;
    history.has_failed =
        fstatat(state->place.fd, STATE_FAILED_DIRECTORY, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (!history.has_failed && errno != ENOENT)
        return file_explain(-errno, "examine", &state->place, STATE_FAILED_DIRECTORY, message);
    *ret_history = history;
    return 0;
}

static int history_check(const struct state *state, const struct history *history,
                         char message[STATE_MESSAGE_MAX])
{
    if (history->has_failed && !history->has_fencing)
        return history_lost(state, STATE_FENCING_FILE,
                            "write the line \"blkd-fencing 1 N N\" to it, with N greater than "
                            "every fencing token ever issued",
                            message);
    if (!history->has_failed && history->next > 1)
        return history_lost(state, STATE_FAILED_DIRECTORY,
                            "create it (mkdir -m 700) if no device has to be treated as failed",
                            message);
    return 0;
}

/* Makes what is missing, in the order that the top of this file promises. */
static int history_complete(const struct state *state, const struct history *history,
                            char message[STATE_MESSAGE_MAX])
{
    if (!history->has_fencing) {
        int error = fencing_write(&state->place, history->next, message);
        if (error < 0)
            return error;
    } else if (!history->has_failed) {
        /* Whoever wrote `fencing` may have been killed before its name was durable. */
        int error = file_sync_names(&state->place, message);
        if (error < 0)
            return error;
    }
    if (!history->has_failed && mkdirat(state->place.fd, STATE_FAILED_DIRECTORY, 0700) < 0)
        return file_explain(-errno, "create", &state->place, STATE_FAILED_DIRECTORY, message);
    return file_sync_names(&state->place, message);
}

/* Begins a new directory, goes on with one that was begun, or refuses one that lost something. */
static int history_begin(const struct state *state, uint64_t *ret_next,
                         char message[STATE_MESSAGE_MAX])
{
    struct history history = {0};
    int error = history_read(state, &history, message);
    if (error == 0)
        error = history_check(state, &history, message);
    if (error == 0)
        error = history_complete(state, &history, message);
    if (error == 0)
        *ret_next = history.next;
    return error;
}

static int on_name(const char *name, void *user_data, char *message)
{
    (void)name;
    (void)user_data;
    (void)message;
    return 0;
}

static void state_log_died(const struct state_key *key, const char *path)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_ERROR, "device-failed");
    log_text(&line, "path", path);
    log_text(&line, "key", key->text);
    log_errno(&line, -EOWNERDEAD);
    log_text(&line, "message",
             "the last daemon died during a sync of it, whose result nobody knows: acknowledged "
             "writes may be lost; writes and flushes are refused until it is recovered "
             "(blkd-cli recover)");
    log_end(&line);
}

static bool on_died(const struct state_key *key, const char *path, void *user_data)
{
    struct state *state = user_data;
    char message[STATE_MESSAGE_MAX];
    const struct state_failure failure = {.error = -EOWNERDEAD, .unix_ms = clock_unix_ms()};
    state_log_died(key, path);
    int error = state_put_failure(state, key, path, &failure, message);
    if (error < 0)
        log_message(LOG_LEVEL_ERROR, "failure-not-kept", "%s", message);
    return error == 0;
}

/* What became of a sync that was under way when the last daemon died is not known: its device has
 * failed. A mark that could not be written stays in the record for the next start. */
static void state_load_record(struct state *state)
{
    record_open(&state->record, &state->place);
    record_each_died(&state->record, on_died, state);
}

static int state_load(struct state *state, char message[STATE_MESSAGE_MAX])
{
    uint64_t next = 0;
    int error = state_lock_take(&state->place, &state->lock_fd, message);
    if (error == 0)
        error = file_sweep(&state->place, on_name, NULL, message);
    if (error == 0)
        error = history_begin(state, &next, message);
    if (error < 0)
        return error;
    state->failed.fd = openat(state->place.fd, STATE_FAILED_DIRECTORY,
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (state->failed.fd < 0)
        return file_explain(-errno, "open", &state->failed, "", message);
    error = failures_load(state, message);
    if (error < 0)
        return error;
    state_load_record(state);
    state->tokens.next = next;
    state->tokens.end = next;
    return state_reserve_tokens(state, message);
}

static struct state *state_new(const char *directory)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        return NULL;
    pthread_mutex_init(&state->disk, NULL);
    pthread_mutex_init(&state->memory, NULL);
    state->place.fd = -1;
    state->failed.fd = -1;
    state->lock_fd = -1;
    state->record.fd = -1;
    state->path = strdup(directory);
    if (state->path == NULL ||
        asprintf(&state->failed_path, "%s/" STATE_FAILED_DIRECTORY, directory) < 0) {
        state->failed_path = NULL;
        return state_close(state);
    }
    state->place.path = state->path;
    state->failed.path = state->failed_path;
    return state;
}

int state_open(const char *directory, struct state **ret_state, char message[STATE_MESSAGE_MAX])
{
    struct state *state = state_new(directory);
    if (state == NULL) {
        (void)snprintf(message, STATE_MESSAGE_MAX,
                       "cannot open the state directory %s: out of memory", directory);
        return -ENOMEM;
    }
    int error = directory_open(state, message);
    if (error == 0)
        error = state_load(state, message);
    if (error < 0) {
        (void)state_close(state);
        return error;
    }
    *ret_state = state;
    return 0;
}

struct state *state_close(struct state *state)
{
    if (state == NULL)
        return NULL;
    record_close(&state->record, &state->place);
    failures_free(state);
    cleanup_close(&state->failed.fd);
    cleanup_close(&state->place.fd);
    state_lock_release(state->lock_fd);
    pthread_mutex_destroy(&state->memory);
    pthread_mutex_destroy(&state->disk);
    free(state->failed_path);
    free(state->path);
    free(state);
    return NULL;
}

int state_lock_fd(const struct state *state)
{
    return state->lock_fd;
}
