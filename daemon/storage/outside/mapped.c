/* SPDX-License-Identifier: MIT */
/*
 * Which process has a file or block device mapped, as far as /proc/PID/maps lets this process look.
 * The path in a line is asked after, because a line's device number is not st_dev on every file
 * system (btrfs), and that of a block device is its node's.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "common/text.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/places.h"

static void cleanup_dir(DIR **directory)
{
    if (*directory != NULL)
        (void)closedir(*directory);
}

static void cleanup_file(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

/* "7f01-7f02 rw-s 00000000 08:01 1234 /srv/disk.img": private mappings share the cache's pages,
 * too. */
static bool mapped_by(const char *process, const struct device_identity *identity)
{
    char path[PATH_BYTES_MAX];
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/%s/maps", outside_proc, process);
    CLEANUP(cleanup_file) FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &size, file) > 0) {
        struct device_identity found;
        const char *name = strchr(line, '/');
        line[strcspn(line, "\n")] = '\0';
        if (name != NULL && identity_of_path(name, &found) && identity_same(&found, identity))
            return true;
    }
    return false;
}

static void mapped_name(const char *process, char *text, size_t size)
{
    char path[PATH_BYTES_MAX];
    char command[64] = "";
    (void)snprintf(path, sizeof(path), "%s/%s/comm", outside_proc, process);
    CLEANUP(cleanup_file) FILE *file = fopen(path, "re");
    if (file != NULL && fgets(command, sizeof(command), file) != NULL)
        command[strcspn(command, "\n")] = '\0';
    (void)snprintf(text, size, "pid %s (%s)", process, command);
    text_make_utf8(text);
}

bool outside_find_mapper(const struct device_identity *identity, char *text, size_t size)
{
    CLEANUP(cleanup_dir) DIR *processes = opendir(outside_proc);
    const struct dirent *entry = NULL;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || !mapped_by(entry->d_name, identity))
            continue;
        mapped_name(entry->d_name, text, size);
        return true;
    }
    return false;
}
