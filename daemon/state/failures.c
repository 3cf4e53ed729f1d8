/* SPDX-License-Identifier: MIT */
/*
 * The marks of failed devices: a table in memory, and a file in failed/ for each, named by the
 * device's key. The table is filled from the files at start; from then on it says what is true, and
 * a file is there for each mark whose `durable` is set.
 *
 * A file that cannot be read or understood is a mark too, of EIO: that a mark is damaged does not
 * make its device sound.
 */
#define HASH_NONFATAL_OOM 1
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "daemon/base/log.h"
#include "daemon/state/impl.h"

enum { MARK_TEXT_MAX = 32 * 1024, MARK_ERRNO_MAX = 4095 };

struct state_mark {
    struct state_key key;
    struct state_failure failure;
    bool durable;
    UT_hash_handle hh;
};

static bool key_is_valid(const char *text)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    size_t length = strspn(text, allowed);
    return length > 0 && length < STATE_KEY_MAX && text[length] == '\0' && strcmp(text, ".") != 0 &&
           strcmp(text, "..") != 0;
}

static int key_check(const struct state_key *key, char message[STATE_MESSAGE_MAX])
{
    if (key_is_valid(key->text))
        return 0;
    (void)snprintf(message, STATE_MESSAGE_MAX, "\"%s\" is not a valid device key", key->text);
    return -EINVAL;
}

static struct state_mark *mark_find(struct state *state, const struct state_key *key)
{
    struct state_mark *mark = NULL;
    HASH_FIND_STR(state->marks, key->text, mark);
    return mark;
}

/* NULL: no memory. An earlier mark of the device stays. */
static struct state_mark *mark_add(struct state *state, const struct state_key *key,
                                   const struct state_failure *failure)
{
    struct state_mark *mark = mark_find(state, key);
    if (mark != NULL)
        return mark;
    mark = calloc(1, sizeof(*mark));
    if (mark == NULL)
        return NULL;
    (void)strcpy(mark->key.text, key->text);
    mark->failure = *failure;
    HASH_ADD_STR(state->marks, key.text, mark);
    if (mark->hh.tbl == NULL) {
        free(mark);
        return NULL;
    }
    return mark;
}

void failures_free(struct state *state)
{
    struct state_mark *mark = NULL;
    struct state_mark *next = NULL;
    HASH_ITER(hh, state->marks, mark, next)
    {
        HASH_DEL(state->marks, mark);
        free(mark);
    }
}

/* A path in one line, whatever is in it. */
static void mark_print_path(FILE *out, const char *path)
{
    for (; *path != '\0'; path++) {
        unsigned char byte = (unsigned char)*path;
        if (byte < ' ' || byte == 0x7f || byte == '\\')
            (void)fprintf(out, "\\x%02x", byte);
        else
            (void)fputc(byte, out);
    }
}

/* The last line tells a whole file from one that was cut. */
static int mark_format(const struct state_failure *failure, const char *path, char **ret_text,
                       size_t *ret_length)
{
    const char *name = strerrorname_np(-failure->error);
    FILE *out = open_memstream(ret_text, ret_length);
    if (out == NULL)
        return -ENOMEM;
    (void)fprintf(out, "blkd-failed 1\nerror %d %s\nunix-ms %" PRIu64 "\npath ", -failure->error,
                  name != NULL ? name : "?", failure->unix_ms);
    mark_print_path(out, path);
    if (failure->place[0] != '\0')
        (void)fprintf(out, "\nplace %s", failure->place);
    (void)fputs("\nend\n", out);
    bool failed = ferror(out) != 0;
    return fclose(out) != 0 || failed ? -ENOMEM : 0;
}

/* The rest of the line that begins with `name`. Nothing if there is none: old marks have no place.
 */
static void mark_parse_line(const char *text, const char *name, char *ret_value, size_t size)
{
    const char *line = strstr(text, name);
    if (line == NULL)
        return;
    line += strlen(name);
    (void)snprintf(ret_value, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static int mark_parse(const char *text, struct state_failure *ret_failure)
{
    static const char end[] = "\nend\n";
    struct state_failure failure = {0};
    size_t length = strlen(text);
    if (sscanf(text, "blkd-failed 1 error %d %*s unix-ms %" SCNu64 " path", &failure.error,
               &failure.unix_ms) != 2 ||
        failure.error < 1 || failure.error > MARK_ERRNO_MAX || length < sizeof(end) ||
        strcmp(text + length - (sizeof(end) - 1), end) != 0)
        return -EUCLEAN;
    failure.error = -failure.error;
    mark_parse_line(text, "\npath ", failure.path, sizeof(failure.path));
    mark_parse_line(text, "\nplace ", failure.place, sizeof(failure.place));
    *ret_failure = failure;
    return 0;
}

/* When a damaged mark was written, as well as can be told. */
static uint64_t mark_file_ms(const struct state_place *place, const char *name)
{
    struct stat info;
    if (fstatat(place->fd, name, &info, AT_SYMLINK_NOFOLLOW) < 0 || info.st_mtim.tv_sec < 0)
        return 0;
    return (uint64_t)info.st_mtim.tv_sec * 1000 + (uint64_t)info.st_mtim.tv_nsec / 1000000;
}

static struct state_failure mark_read(const struct state_place *place, const char *name,
                                      char message[STATE_MESSAGE_MAX])
{
    CLEANUP_FREE char *text = calloc(1, MARK_TEXT_MAX);
    struct state_failure failure = {.error = -EIO, .unix_ms = mark_file_ms(place, name)};
    int error = text == NULL ? -ENOMEM : file_read(place, name, text, MARK_TEXT_MAX, message);
    if (error == 0)
        error = mark_parse(text, &failure);
    if (error < 0)
        log_message(LOG_LEVEL_WARNING, "state-damaged",
                    "%s/%s: the mark of a failed device is damaged; the device counts as failed "
                    "with EIO until it is recovered",
                    place->path, name);
    return failure;
}

static int on_mark_file(const char *name, void *user_data, char *message)
{
    struct state *state = user_data;
    struct state_key key = {0};
    if (!key_is_valid(name)) {
        log_message(LOG_LEVEL_WARNING, "state-foreign", "%s/%s: ignored, not a file of blkd",
                    state->failed.path, name);
        return 0;
    }
    (void)strcpy(key.text, name);
    const struct state_failure failure = mark_read(&state->failed, name, message);
    struct state_mark *mark = mark_add(state, &key, &failure);
    if (mark == NULL)
        return file_explain(-ENOMEM, "load", &state->failed, name, message);
    mark->durable = true;
    return 0;
}

/* The names are synced, because a daemon that was killed may have put or cleared a mark without
 * living to sync it: what is read here is to stay true. */
int failures_load(struct state *state, char message[STATE_MESSAGE_MAX])
{
    int error = file_sync_names(&state->failed, message);
    if (error < 0)
        return error;
    return file_sweep(&state->failed, on_mark_file, state, message);
}

bool state_find_failure(struct state *state, const struct state_key *key,
                        struct state_failure *ret_failure)
{
    pthread_mutex_lock(&state->memory);
    const struct state_mark *mark = mark_find(state, key);
    if (mark != NULL)
        *ret_failure = mark->failure;
    pthread_mutex_unlock(&state->memory);
    return mark != NULL;
}

static int mark_remember(struct state *state, const struct state_key *key,
                         const struct state_failure *failure, struct state_failure *ret_failure,
                         bool *ret_durable)
{
    pthread_mutex_lock(&state->memory);
    const struct state_mark *mark = mark_add(state, key, failure);
    if (mark != NULL) {
        *ret_failure = mark->failure;
        *ret_durable = mark->durable;
    }
    pthread_mutex_unlock(&state->memory);
    return mark != NULL ? 0 : -ENOMEM;
}

static bool mark_is_one_too_many(struct state *state)
{
    pthread_mutex_lock(&state->memory);
    bool too_many = HASH_COUNT(state->marks) > STATE_FAILURES_MAX;
    pthread_mutex_unlock(&state->memory);
    return too_many;
}

static int mark_write(struct state *state, const struct state_key *key, const char *path,
                      const struct state_failure *failure, char message[STATE_MESSAGE_MAX])
{
    CLEANUP_FREE char *text = NULL;
    size_t length = 0;
    if (mark_is_one_too_many(state)) {
        (void)snprintf(message, STATE_MESSAGE_MAX,
                       "%s: the limit of %d marks of failed devices is reached: recover devices, "
                       "or remove the marks of devices that no longer exist",
                       state->failed.path, STATE_FAILURES_MAX);
        return -ENOSPC;
    }
    int error = mark_format(failure, path, &text, &length);
    if (error < 0)
        return file_explain(error, "write", &state->failed, key->text, message);
    return file_replace(&state->failed, key->text, text, length, message);
}

int state_put_failure(struct state *state, const struct state_key *key, const char *path,
                      const struct state_failure *failure, char message[STATE_MESSAGE_MAX])
{
    struct state_failure put = *failure;
    struct state_failure first = {0};
    bool durable = false;
    (void)snprintf(put.path, sizeof(put.path), "%s", path);
    if (key->text[0] == '\0') {
        (void)snprintf(
            message, STATE_MESSAGE_MAX,
            "nothing tells this device from others after a restart, so that it failed is "
            "forgotten when the daemon stops: recover it before (blkd-cli recover)");
        return -ENODATA;
    }
    int error = key_check(key, message);
    if (error < 0)
        return error;
    /* Known at once, however long the disk takes. */
    (void)mark_remember(state, key, &put, &first, &durable);
    pthread_mutex_lock(&state->disk);
    /* Again: who had the disk may have cleared it. */
    error = mark_remember(state, key, &put, &first, &durable);
    if (error < 0)
        (void)file_explain(error, "write", &state->failed, key->text, message);
    else if (!durable)
        error = mark_write(state, key, path, &first, message);
    if (error == 0) {
        pthread_mutex_lock(&state->memory);
        mark_find(state, key)->durable = true;
        pthread_mutex_unlock(&state->memory);
    }
    pthread_mutex_unlock(&state->disk);
    return error;
}

int state_clear_failure(struct state *state, const struct state_key *key,
                        char message[STATE_MESSAGE_MAX])
{
    if (key->text[0] == '\0')
        return 0;
    int error = key_check(key, message);
    if (error < 0)
        return error;
    pthread_mutex_lock(&state->disk);
    error = file_remove(&state->failed, key->text, message);
    if (error == 0) {
        pthread_mutex_lock(&state->memory);
        struct state_mark *mark = mark_find(state, key);
        if (mark != NULL) {
            HASH_DEL(state->marks, mark);
            free(mark);
        }
        pthread_mutex_unlock(&state->memory);
    }
    pthread_mutex_unlock(&state->disk);
    return error;
}
