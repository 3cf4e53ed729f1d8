/* SPDX-License-Identifier: MIT */
/*
 * Locks of other programs. /proc/locks has them all, with the inode but without a process that can
 * be relied on: none for OFD locks, the one that took it for flock, which may have died and left it
 * to its children. So the processes are looked for by their descriptors (/proc/PID/fdinfo), and
 * what is found nowhere there is kept with the pid of /proc/locks.
 *
 * Both name the inode of a block device's node, not the device, and the file system by its own
 * number, which on btrfs is not st_dev: where the inode alone fits, the descriptor is looked at.
 */
#include "daemon/storage/outside/locks.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/storage/outside/holders.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/places.h"

enum {
    LOCKS_MAX = 256,          /* that are looked at more closely */
    LOCKS_READINGS = 5,       /* of /proc/locks */
    LOCKS_FDINFO_MAX = 200000 /* descriptors that are read in search of their processes */
};

struct locks_line {
    enum outside_kind kind;
    bool exclusive;
    bool waits;
    bool seen; /* found among a process' descriptors */
    pid_t pid;
    uint64_t dev;
    uint64_t inode;
    char range[64];
    /* The member of the family; or, if only the inode fits, -1. */
    int member;
};

struct locks_search {
    const struct outside_family *family;
    struct outside_holders *holders;
    /* The inode by which a lock names each member: a block device's node has its own. */
    struct device_identity nodes[BACKEND_RELATED_MAX + 1];
    /* All different, though a process can have the same lock by several descriptors. */
    struct locks_line *lines;
    unsigned int count;
    unsigned int budget;
};

static bool locks_parse_kind(const char *text, enum outside_kind *ret_kind)
{
    static const struct {
        const char *name;
        enum outside_kind kind;
    } kinds[] = {{"FLOCK", OUTSIDE_FLOCK},
                 {"POSIX", OUTSIDE_RECORD_LOCK},
                 {"OFDLCK", OUTSIDE_RECORD_LOCK},
                 {"LEASE", OUTSIDE_LEASE},
                 {"DELEG", OUTSIDE_LEASE}};
    for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(text, kinds[i].name) == 0) {
            *ret_kind = kinds[i].kind;
            return true;
        }
    }
    return false;
}

static void locks_set_range(struct locks_line *line, const char *start, const char *end)
{
    if (line->kind != OUTSIDE_RECORD_LOCK)
        return;
    if (strcmp(end, "EOF") == 0)
        (void)snprintf(line->range, sizeof(line->range), "bytes from %s", start);
    else if (strcmp(start, end) == 0)
        (void)snprintf(line->range, sizeof(line->range), "byte %s", start);
    else
        (void)snprintf(line->range, sizeof(line->range), "bytes %s-%s", start, end);
}

/* "1: -> FLOCK  ADVISORY  WRITE 28978 00:06:94 0 EOF", numbers of the device in hex; the arrow for
 * who waits. */
static bool locks_parse(const char *text, struct locks_line *ret_line)
{
    struct locks_line line = {.member = -1};
    char kind[16];
    char how[16];
    char start[24];
    char end[24];
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return false;
    text = colon + 1 + strspn(colon + 1, " ");
    line.waits = strncmp(text, "->", 2) == 0;
    if (line.waits)
        text += 2;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    if (sscanf(text, " %15s %*s %15s %d %x:%x:%lu %23s %23s", kind, how, &line.pid, &major_number,
               &minor_number, &line.inode, start, end) != 8)
        return false;
    if (!locks_parse_kind(kind, &line.kind))
        return false;
    line.exclusive = strcmp(how, "WRITE") == 0;
    line.dev = makedev(major_number, minor_number);
    locks_set_range(&line, start, end);
    *ret_line = line;
    return true;
}

/* ---- which of them matter ---- */

static void locks_name_nodes(struct locks_search *search)
{
    for (unsigned int i = 0; i < search->family->count; i++) {
        const struct outside_member *member = &search->family->members[i];
        struct stat status;
        search->nodes[i] = member->identity;
        if (member->identity.kind != DEVICE_BLOCK)
            continue;
        search->nodes[i] = (struct device_identity){.kind = DEVICE_BLOCK};
        if (stat(member->name, &status) == 0 && S_ISBLK(status.st_mode) &&
            status.st_rdev == member->identity.dev)
            search->nodes[i] = (struct device_identity){
                .kind = DEVICE_BLOCK, .dev = status.st_dev, .inode = status.st_ino};
    }
}

/* Whether a line could be about a member, by its inode. */
static bool locks_match(const struct locks_search *search, struct locks_line *line)
{
    bool fits = false;
    for (unsigned int i = 0; i < search->family->count; i++) {
        if (search->nodes[i].inode != line->inode || line->inode == 0)
            continue;
        fits = true;
        if (search->nodes[i].dev == line->dev) {
            line->member = (int)i;
            break;
        }
    }
    return fits;
}

/* The descriptor says what a line is about whose inode alone fits. */
static void locks_match_fd(const struct locks_search *search, struct locks_line *line, int fds,
                           const char *number)
{
    char path[NAME_MAX + 8];
    struct statx status;
    (void)snprintf(path, sizeof(path), "../fd/%s", number);
    if (statx(fds, path, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) < 0)
        return;
    bool block = S_ISBLK(status.stx_mode);
    const struct device_identity identity = {
        .kind = block ? DEVICE_BLOCK : DEVICE_FILE,
        .dev = block ? makedev(status.stx_rdev_major, status.stx_rdev_minor)
                     : makedev(status.stx_dev_major, status.stx_dev_minor),
        .inode = block ? 0 : status.stx_ino};
    for (unsigned int i = 0; i < search->family->count; i++) {
        if (identity_same(&search->family->members[i].identity, &identity))
            line->member = (int)i;
    }
}

/* ---- holders ---- */

static void locks_name_process(struct outside_holder *holder, pid_t pid)
{
    char path[PATH_BYTES_MAX];
    struct stat status;
    (void)snprintf(path, sizeof(path), "%s/%d", outside_proc, pid);
    if (stat(path, &status) < 0)
        return;
    holder->pid = pid;
    holder->uid = status.st_uid;
    holders_read_command(pid, holder->command, sizeof(holder->command));
}

static void locks_add(struct locks_search *search, const struct locks_line *line, pid_t pid)
{
    struct outside_holder *holder = holders_add(
        search->holders, line->kind, &search->family->members[line->member], line->range);
    if (holder == NULL)
        return;
    holder->exclusive = line->exclusive;
    holder->waits = line->waits;
    if (pid > 0)
        locks_name_process(holder, pid);
}

/* ---- the processes ---- */

static bool locks_same(const struct locks_line *a, const struct locks_line *b)
{
    return a->kind == b->kind && a->exclusive == b->exclusive && a->waits == b->waits &&
           a->inode == b->inode && a->dev == b->dev && a->pid == b->pid &&
           strcmp(a->range, b->range) == 0;
}

static struct locks_line *locks_find(struct locks_search *search, const struct locks_line *line)
{
    for (unsigned int i = 0; i < search->count; i++) {
        if (locks_same(&search->lines[i], line))
            return &search->lines[i];
    }
    return NULL;
}

static void locks_found(struct locks_search *search, struct locks_line *line, int fds,
                        const char *number, pid_t pid)
{
    if (!locks_match(search, line))
        return;
    if (line->member < 0)
        locks_match_fd(search, line, fds, number);
    struct locks_line *known = locks_find(search, line);
    if (known != NULL)
        known->seen = true;
    if (line->member >= 0 && pid != getpid())
        locks_add(search, line, pid);
}

static void locks_read_fdinfo(struct locks_search *search, int fds, const char *number, pid_t pid)
{
    char text[4096];
    char *save = NULL;
    CLEANUP_CLOSE int fd = openat(fds, number, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (length <= 0)
        return;
    text[length] = '\0';
    if (strstr(text, "lock:") == NULL)
        return;
    for (const char *at = strtok_r(text, "\n", &save); at != NULL;
         at = strtok_r(NULL, "\n", &save)) {
        struct locks_line line;
        if (strncmp(at, "lock:", 5) == 0 && locks_parse(at + 5, &line))
            locks_found(search, &line, fds, number, pid);
    }
}

static void locks_read_process(struct locks_search *search, pid_t pid)
{
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/%d/fdinfo", outside_proc, pid);
    CLEANUP_CLOSEDIR DIR *directory = opendir(path);
    if (directory == NULL) /* it has ended, or is another user's */
        return;
    for (const struct dirent *entry = readdir(directory); entry != NULL && search->budget > 0;
         entry = readdir(directory)) {
        if (entry->d_name[0] == '.')
            continue;
        search->budget--;
        locks_read_fdinfo(search, dirfd(directory), entry->d_name, pid);
    }
}

static int locks_read_processes(struct locks_search *search)
{
    CLEANUP_CLOSEDIR DIR *directory = opendir(outside_proc);
    if (directory == NULL)
        return -errno;
    for (const struct dirent *entry = readdir(directory); entry != NULL && search->budget > 0;
         entry = readdir(directory)) {
        if (isdigit((unsigned char)entry->d_name[0]))
            locks_read_process(search, (pid_t)strtol(entry->d_name, NULL, 10));
    }
    return 0;
}

/* ---- /proc/locks ---- */

static int locks_read_once(struct locks_search *search)
{
    char path[PATH_BYTES_MAX];
    CLEANUP_FREE char *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/locks", outside_proc);
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    while (search->count < LOCKS_MAX && getline(&text, &size, file) > 0) {
        struct locks_line line;
        if (locks_parse(text, &line) && locks_match(search, &line) &&
            locks_find(search, &line) == NULL)
            search->lines[search->count++] = line;
    }
    return 0;
}

/* The kernel gives the file by pages and finds its place for the next one by counting: when others
 * lock and unlock meanwhile, lines come twice or not at all. So each is taken once, of several
 * readings. */
static int locks_read(struct locks_search *search)
{
    int error = 0;
    for (unsigned int i = 0; error == 0 && i < LOCKS_READINGS; i++)
        error = locks_read_once(search);
    return error;
}

/* What no process has a descriptor of: waiters, and what an io_uring keeps of a process that was
 * killed. This process' own locks are all among its descriptors. */
static void locks_add_rest(struct locks_search *search)
{
    for (unsigned int i = 0; i < search->count; i++) {
        const struct locks_line *line = &search->lines[i];
        if (!line->seen && line->member >= 0 && line->pid != getpid())
            locks_add(search, line, line->pid);
    }
}

int locks_find_holders(const struct outside_family *family, struct outside_holders *holders)
{
    CLEANUP_FREE struct locks_line *lines = calloc(LOCKS_MAX, sizeof(*lines));
    struct locks_search search = {
        .family = family, .holders = holders, .lines = lines, .budget = LOCKS_FDINFO_MAX};
    if (lines == NULL)
        return -ENOMEM;
    locks_name_nodes(&search);
    int error = locks_read(&search);
    if (error == 0)
        error = locks_read_processes(&search);
    if (error == 0)
        locks_add_rest(&search);
    return error;
}
