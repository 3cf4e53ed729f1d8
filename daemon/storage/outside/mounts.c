/* SPDX-License-Identifier: MIT */
/*
 * What is mounted and what is swapped to. Mounts are read from this process' namespace and from
 * that of process 1, which a daemon in a sandbox does not share. Others' are not seen; the kernel's
 * own answer to O_EXCL covers those (claims.h).
 */
#include "daemon/storage/outside/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/places.h"

/* Space, tab, newline and backslash stand as \ooo in it (proc_pid_mountinfo(5)). */
static void mounts_copy_unescaped(char *to, size_t size, const char *from)
{
    size_t length = 0;
    while (*from != '\0' && length + 1 < size) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            to[length++] = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            to[length++] = *from++;
        }
    }
    to[length] = '\0';
}

static bool mounts_parse_device(const char *text, uint64_t *ret_dev)
{
    char *end = NULL;
    unsigned long major_number = strtoul(text, &end, 10);
    if (end == text || *end != ':')
        return false;
    *ret_dev = makedev((unsigned int)major_number, (unsigned int)strtoul(end + 1, NULL, 10));
    return true;
}

static bool mounts_is_read_write(const char *options)
{
    return strncmp(options, "rw", 2) == 0 && (options[2] == ',' || options[2] == '\0');
}

/* "27 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw" */
static bool mounts_parse(char *line, struct outside_mount *ret_mount)
{
    char *save = NULL;
    const char *fields[6];
    for (unsigned int i = 0; i < 6; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &save);
        if (fields[i] == NULL)
            return false;
    }
    const char *field = strtok_r(NULL, " \n", &save);
    while (field != NULL && strcmp(field, "-") != 0)
        field = strtok_r(NULL, " \n", &save);
    const char *type = strtok_r(NULL, " \n", &save);
    const char *source = strtok_r(NULL, " \n", &save);
    const char *options = strtok_r(NULL, " \n", &save);
    if (field == NULL || type == NULL || !mounts_parse_device(fields[2], &ret_mount->dev))
        return false;
    mounts_copy_unescaped(ret_mount->point, sizeof(ret_mount->point), fields[4]);
    mounts_copy_unescaped(ret_mount->type, sizeof(ret_mount->type), type);
    mounts_copy_unescaped(ret_mount->source, sizeof(ret_mount->source),
                          source == NULL ? "" : source);
    /* A file system that is mounted read/write at one place writes, whatever the other places are.
     */
    ret_mount->read_write =
        options == NULL ? mounts_is_read_write(fields[5]) : mounts_is_read_write(options);
    return true;
}

static int mounts_read(const char *process,
                       bool (*found)(void *context, const struct outside_mount *mount),
                       void *context)
{
    char path[PATH_BYTES_MAX];
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/%s/mountinfo", outside_proc, process);
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    while (getline(&line, &size, file) > 0) {
        struct outside_mount mount;
        if (mounts_parse(line, &mount) && !found(context, &mount))
            return 1;
    }
    return 0;
}

/* Whether process 1 is known to have the same. Its namespaces are not for everybody to look at, and
 * a sandbox hides them; its mountinfo is. */
static bool mounts_are_ours(void)
{
    char paths[2][PATH_BYTES_MAX];
    char namespaces[2][64] = {"", ""};
    (void)snprintf(paths[0], sizeof(paths[0]), "%s/self/ns/mnt", outside_proc);
    (void)snprintf(paths[1], sizeof(paths[1]), "%s/1/ns/mnt", outside_proc);
    for (unsigned int i = 0; i < 2; i++) {
        if (readlink(paths[i], namespaces[i], sizeof(namespaces[i]) - 1) < 0)
            return false;
    }
    return strcmp(namespaces[0], namespaces[1]) == 0;
}

int mounts_each(bool (*found)(void *context, const struct outside_mount *mount), void *context)
{
    int error = mounts_read("self", found, context);
    if (error == 0 && !mounts_are_ours())
        (void)mounts_read("1", found, context);
    return error < 0 ? error : 0;
}

/* File systems of several devices, and overlays, have a number of their own: the source names the
 * device (btrfs: the first one). */
bool mounts_is_of(const struct outside_mount *mount, const struct device_identity *identity)
{
    struct device_identity source;
    if (identity->kind != DEVICE_BLOCK)
        return false;
    if (mount->dev == identity->dev)
        return true;
    return major(mount->dev) == 0 && strncmp(mount->source, "/dev/", 5) == 0 &&
           identity_of_path(mount->source, &source) && identity_same(&source, identity);
}

struct mounts_search {
    const char *path;
    size_t length;
    struct outside_mount *best;
};

/* Of two at one place the later one is on top. */
static bool on_mount_on_the_way(void *context, const struct outside_mount *mount)
{
    struct mounts_search *search = context;
    size_t length = strlen(mount->point);
    if (length == 1)
        length = 0;
    if (strncmp(search->path, mount->point, length) == 0 && search->path[length] == '/' &&
        length >= search->length) {
        *search->best = *mount;
        search->length = length;
    }
    return true;
}

bool mounts_find(const char *path, struct outside_mount *ret_mount)
{
    struct outside_mount best = {.dev = 0};
    struct mounts_search search = {.path = path, .best = &best};
    if (mounts_read("self", on_mount_on_the_way, &search) < 0 || best.type[0] == '\0')
        return false;
    *ret_mount = best;
    return true;
}

int mounts_each_swap(bool (*found)(void *context, const char *path), void *context)
{
    char path[PATH_BYTES_MAX];
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/swaps", outside_proc);
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : -errno; /* a kernel without swap */
    while (getline(&line, &size, file) > 0) {
        if (line[0] != '/') /* the headline */
            continue;
        line[strcspn(line, " \t\n")] = '\0';
        mounts_copy_unescaped(path, sizeof(path), line);
        if (!found(context, path))
            break;
    }
    return 0;
}
