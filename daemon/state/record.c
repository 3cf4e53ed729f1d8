/* SPDX-License-Identifier: MIT */
#include "daemon/state/record.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/base/log.h"
#include "daemon/state/impl.h"

enum {
    RECORD_LINES_MAX = 32768,
    RECORD_LINES_STEP = 64,
    RECORD_LINE_BYTES = 512,
    RECORD_TEXT_MAX = PATH_MAX + 128,
    BOOT_ID_BYTES = 36,
};

#define RECORD_MAGIC "blkd-record 1\n"
#define RECORD_PREFIX "blkd-record-"

/* A line's word. The count of syncs under way is above the bits. */
enum {
    LINE_USED = 1 << 0,
    LINE_OWNED = 1 << 1, /* by a device of the daemon that lives */
    LINE_UNSYNCED =
        1 << 2,         /* a session with a sync level has changed something since the last sync */
    LINE_DIED = 1 << 3, /* a sync was under way when an earlier daemon died */
    LINE_SYNC = 1 << 8,
};

struct record_line {
    atomic_uint word;
    char key[STATE_KEY_MAX];
    char path[RECORD_LINE_BYTES - STATE_KEY_MAX - sizeof(atomic_uint)]; /* for people; may be cut */
};

struct record_head {
    char magic[sizeof(RECORD_MAGIC)];
    char state[PATH_MAX]; /* the state directory that it belongs to */
};

struct record_page {
    union {
        struct record_head head;
        char room[RECORD_LINE_BYTES * 16];
    };
    struct record_line lines[RECORD_LINES_MAX];
};

_Static_assert(sizeof(struct record_line) == RECORD_LINE_BYTES, "lines do not straddle pages");
_Static_assert(sizeof(struct record_head) <= sizeof(((struct record_page *)0)->room), "it fits");

/* Where memory has names. The first that is tmpfs and can be written is taken. */
static const char *const record_places[] = {"/dev/shm", "/run"};

/* ---- the file that says which ---- */

static bool record_boot_id(char ret_id[BOOT_ID_BYTES + 1])
{
    CLEANUP_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ret_id[BOOT_ID_BYTES] = '\0';
    return fd >= 0 && read(fd, ret_id, BOOT_ID_BYTES) == BOOT_ID_BYTES;
}

/* The path of this boot's record, as the directory names it. False: it names none. */
static bool record_named(const struct state_place *place, char ret_path[PATH_MAX])
{
    char text[RECORD_TEXT_MAX];
    char message[STATE_MESSAGE_MAX];
    char boot[BOOT_ID_BYTES + 1];
    char now[BOOT_ID_BYTES + 1];
    int end = 0;
    if (file_read(place, STATE_RECORD_FILE, text, sizeof(text), message) < 0 ||
        sscanf(text, "blkd-record 1 %36s %4095[^\n]%n", boot, ret_path, &end) != 2 ||
        strcmp(text + end, "\n") != 0)
        return false;
    return record_boot_id(now) && strcmp(boot, now) == 0;
}

static int record_name(const struct state_place *place, const char *path,
                       char message[STATE_MESSAGE_MAX])
{
    char text[RECORD_TEXT_MAX];
    char boot[BOOT_ID_BYTES + 1];
    if (!record_boot_id(boot)) {
        (void)snprintf(message, STATE_MESSAGE_MAX,
                       "/proc/sys/kernel/random/boot_id cannot be read: mount /proc");
        return -ENODATA;
    }
    int length = snprintf(text, sizeof(text), "blkd-record 1 %s %s\n", boot, path);
    return file_replace(place, STATE_RECORD_FILE, text, (size_t)length, message);
}

/* ---- the memory ---- */

static bool record_is_on_tmpfs(int fd)
{
    struct statfs filesystem;
    return fstatfs(fd, &filesystem) == 0 && (unsigned long)filesystem.f_type == TMPFS_MAGIC;
}

/* Nobody else can have written to it. */
static bool record_is_own(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
           (status.st_mode & 077) == 0 && record_is_on_tmpfs(fd);
}

static struct record_page *record_map(int fd)
{
    void *page = mmap(NULL, sizeof(struct record_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return page != MAP_FAILED ? page : NULL;
}

static bool record_head_is_whole(const struct record_head *head)
{
    return memcmp(head->magic, RECORD_MAGIC, sizeof(RECORD_MAGIC)) == 0 &&
           memchr(head->state, '\0', sizeof(head->state)) != NULL;
}

/* How many lines there is room for in a file of this size; 0: it is none of blkd's. */
static size_t record_room(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || status.st_size < (off_t)offsetof(struct record_page, lines) ||
        status.st_size > (off_t)sizeof(struct record_page))
        return 0;
    return ((size_t)status.st_size - offsetof(struct record_page, lines)) / RECORD_LINE_BYTES;
}

/* More lines, as spare ones. They are zeroes, and there is memory for them. */
static bool record_grow(struct record *record)
{
    size_t count = record->line_count + RECORD_LINES_STEP;
    off_t end = (off_t)(offsetof(struct record_page, lines) + count * RECORD_LINE_BYTES);
    if (count > RECORD_LINES_MAX || posix_fallocate(record->fd, 0, end) != 0)
        return false;
    uint32_t *spare = reallocarray(record->spare, count, sizeof(*spare));
    if (spare == NULL)
        return false;
    record->spare = spare;
    while (count-- > record->line_count)
        record->spare[record->spare_count++] = (uint32_t)count;
    record->line_count += RECORD_LINES_STEP;
    return true;
}

/* ---- beginning one ---- */

/* A name of its own in the directory. False: no randomness. */
static bool record_choose_path(const char *directory, char ret_path[PATH_MAX])
{
    unsigned char random[16];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return false;
    char *end = ret_path + snprintf(ret_path, PATH_MAX, "%s/" RECORD_PREFIX, directory);
    for (size_t i = 0; i < sizeof(random); i++)
        end += sprintf(end, "%02x", random[i]);
    return true;
}

/* Without a path it is none. */
static void record_forget(struct record *record)
{
    if (record->page != NULL)
        (void)munmap(record->page, sizeof(*record->page));
    cleanup_close(&record->fd);
    free(record->spare);
    free(record->path);
    *record = (struct record){.fd = -1};
}

/* The whole of a new one, locked, and without a name as yet. */
static bool record_fill(struct record *record, const struct state_place *place,
                        const char *directory)
{
    record->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (record->fd < 0 || !record_is_own(record->fd) || flock(record->fd, LOCK_EX | LOCK_NB) < 0)
        return false;
    record->page = record_map(record->fd);
    if (record->page == NULL || !record_grow(record) ||
        realpath(place->path, record->page->head.state) == NULL)
        return false;
    memcpy(record->page->head.magic, RECORD_MAGIC, sizeof(RECORD_MAGIC));
    return true;
}

static bool record_link(const struct record *record)
{
    char self[64];
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", record->fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, record->path, AT_SYMLINK_FOLLOW) == 0;
}

/* It gets its name when it is whole and locked: whoever is killed meanwhile leaves nothing, or what
 * record_sweep knows. */
static bool record_begin_at(struct record *record, const struct state_place *place,
                            const char *directory, char message[STATE_MESSAGE_MAX])
{
    char path[PATH_MAX];
    if (record_choose_path(directory, path) && record_fill(record, place, directory) &&
        (record->path = strdup(path)) != NULL && record_link(record)) {
        if (record_name(place, path, message) == 0)
            return true;
        (void)unlink(path);
    }
    record_forget(record);
    return false;
}

static void record_begin(struct record *record, const struct state_place *place)
{
    char message[STATE_MESSAGE_MAX] = "neither /dev/shm nor /run is a tmpfs that can be written";
    for (size_t i = 0; i < sizeof(record_places) / sizeof(record_places[0]); i++) {
        if (record_begin_at(record, place, record_places[i], message))
            return;
    }
    log_message(LOG_LEVEL_WARNING, "record-not-kept",
                "if this daemon is killed, the next one will not know for which devices a sync was "
                "under way: %s",
                message);
}

/* ---- taking one over ---- */

static void record_adopt_line(struct record *record, size_t number)
{
    struct record_line *line = &record->page->lines[number];
    unsigned int word = atomic_load(&line->word);
    line->key[sizeof(line->key) - 1] = '\0';
    line->path[sizeof(line->path) - 1] = '\0';
    if (word >= LINE_SYNC)
        word |= LINE_DIED;
    word &= LINE_USED | LINE_UNSYNCED | LINE_DIED;
    if ((word & LINE_USED) == 0 || (word & (LINE_UNSYNCED | LINE_DIED)) == 0)
        word = 0;
    atomic_store(&line->word, word);
    if (word == 0)
        record->spare[record->spare_count++] = (uint32_t)number;
    else
        record->orphan_count++;
}

/* Whoever has the state directory's lock is alone, but for a dying daemon that has let go of that
 * first: this one is free when the rest of its process is gone. */
static bool record_lock(int fd)
{
    while (flock(fd, LOCK_EX) < 0) {
        if (errno != EINTR)
            return false;
    }
    return true;
}

static bool record_adopt(struct record *record, const char *path)
{
    record->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (record->fd < 0 || !record_is_own(record->fd) || !record_lock(record->fd))
        return false;
    record->line_count = record_room(record->fd);
    if (record->line_count == 0)
        return false;
    record->page = record_map(record->fd);
    record->spare = calloc(record->line_count, sizeof(*record->spare));
    record->path = strdup(path);
    if (record->page == NULL || record->spare == NULL || record->path == NULL ||
        !record_head_is_whole(&record->page->head))
        return false;
    for (size_t i = record->line_count; i-- > 0;)
        record_adopt_line(record, i);
    return true;
}

/* ---- what others left ---- */

static bool record_is_used(int fd, const char *path)
{
    struct record_head head;
    char named[PATH_MAX];
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 ||
        pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) || !record_head_is_whole(&head))
        return true;
    struct state_place place = {
        .fd = open(head.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .path = head.state,
    };
    bool used =
        place.fd < 0 ? errno != ENOENT : record_named(&place, named) && strcmp(named, path) == 0;
    cleanup_close(&place.fd);
    return used;
}

/* Records whose state directory is gone, or has another by now. */
static void record_sweep(const char *directory)
{
    CLEANUP_CLOSEDIR DIR *entries = opendir(directory);
    const struct dirent *entry = NULL;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        char path[PATH_MAX];
        if (strncmp(entry->d_name, RECORD_PREFIX, strlen(RECORD_PREFIX)) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && record_is_own(fd) && !record_is_used(fd, path))
            (void)unlink(path);
    }
}

void record_open(struct record *record, const struct state_place *place)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof(record_places) / sizeof(record_places[0]); i++)
        record_sweep(record_places[i]);
    *record = (struct record){.fd = -1};
    if (!record_named(place, path)) {
        record_begin(record, place);
        return;
    }
    if (record_adopt(record, path))
        return;
    record_forget(record);
    log_message(LOG_LEVEL_WARNING, "record-lost",
                "%s, where the last daemon recorded its syncs, is gone or damaged: if that daemon "
                "was killed, a sync may have failed unnoticed; check the data of its devices",
                path);
    record_begin(record, place);
}

void record_close(struct record *record, const struct state_place *place)
{
    char message[STATE_MESSAGE_MAX];
    bool empty = record->spare_count == record->line_count;
    /* The name first: a name without the file would tell of a loss. */
    if (record->path != NULL && empty && file_remove(place, STATE_RECORD_FILE, message) == 0)
        (void)unlink(record->path);
    record_forget(record);
}

void record_each_died(struct record *record,
                      bool (*visit)(const struct state_key *key, const char *path, void *user_data),
                      void *user_data)
{
    for (size_t i = 0; i < record->line_count; i++) {
        struct record_line *line = &record->page->lines[i];
        struct state_key key;
        if ((atomic_load(&line->word) & LINE_DIED) == 0)
            continue;
        (void)strcpy(key.text, line->key);
        if (!visit(&key, line->path, user_data))
            continue;
        atomic_store(&line->word, 0);
        record->spare[record->spare_count++] = (uint32_t)i;
        record->orphan_count--;
    }
}

/* ---- a device's line ---- */

/* What an earlier daemon left of this device is its line from now on. With state.memory held. */
static struct record_line *record_find_orphan(struct record *record, const char *key)
{
    for (size_t i = 0; record->orphan_count > 0 && i < record->line_count; i++) {
        struct record_line *line = &record->page->lines[i];
        unsigned int word = atomic_load(&line->word);
        if ((word & (LINE_USED | LINE_OWNED)) != LINE_USED || strcmp(line->key, key) != 0)
            continue;
        record->orphan_count--;
        atomic_store(&line->word, word | LINE_OWNED);
        return line;
    }
    return NULL;
}

/* The word last: a line is there when all of it is. */
static struct record_line *record_new_line(struct record *record, const char *key, const char *path)
{
    if (record->page == NULL || (record->spare_count == 0 && !record_grow(record)))
        return NULL;
    struct record_line *line = &record->page->lines[record->spare[--record->spare_count]];
    (void)snprintf(line->key, sizeof(line->key), "%s", key);
    (void)snprintf(line->path, sizeof(line->path), "%s", path);
    atomic_store(&line->word, LINE_USED | LINE_OWNED);
    return line;
}

struct record_line *state_take_line(struct state *state, const struct state_key *key,
                                    const char *path, bool *ret_unsynced)
{
    *ret_unsynced = false;
    if (key->text[0] == '\0')
        return NULL;
    pthread_mutex_lock(&state->memory);
    struct record_line *line = record_find_orphan(&state->record, key->text);
    if (line != NULL)
        *ret_unsynced = true;
    else
        line = record_new_line(&state->record, key->text, path);
    pthread_mutex_unlock(&state->memory);
    return line;
}

struct record_line *state_drop_line(struct state *state, struct record_line *line)
{
    struct record *record = &state->record;
    if (line == NULL)
        return NULL;
    pthread_mutex_lock(&state->memory);
    atomic_store(&line->word, 0);
    record->spare[record->spare_count++] = (uint32_t)(line - record->page->lines);
    pthread_mutex_unlock(&state->memory);
    return NULL;
}

void state_sync_begins(struct record_line *line)
{
    if (line != NULL)
        (void)atomic_fetch_add(&line->word, LINE_SYNC);
}

void state_sync_ended(struct record_line *line)
{
    if (line == NULL)
        return;
    unsigned int before = atomic_fetch_sub(&line->word, LINE_SYNC);
    assert(before >= LINE_SYNC);
    (void)before;
}

void state_set_unsynced(struct record_line *line, bool unsynced)
{
    if (line == NULL)
        return;
    if (unsynced)
        (void)atomic_fetch_or(&line->word, LINE_UNSYNCED);
    else
        (void)atomic_fetch_and(&line->word, ~(unsigned int)LINE_UNSYNCED);
}
