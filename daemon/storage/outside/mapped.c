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
#include "daemon/storage/outside/holders.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/places.h"

/* "7f01-7f02 rw-s 00000000 08:01 1234 /srv/disk.img": private mappings share the cache's pages,
 * too. */
static bool mapped_by(const char *process, const struct device_identity *identity)
{
    char path[PATH_BYTES_MAX];
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/%s/maps", outside_proc, process);
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &size, file) > 0) {
        struct device_identity found;
        const char *name = strchr(line, '/');
        line[strcspn(line, "\n")] = '\0';
        if (name != NULL && identity_of_path(name, &found) && identity_same(&found, identity))
            return true;
    }
    return false;
}

bool outside_find_mapper(const struct device_identity *identity, char *text, size_t size)
{
    CLEANUP_CLOSEDIR DIR *processes = opendir(outside_proc);
    const struct dirent *entry = NULL;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || !mapped_by(entry->d_name, identity))
            continue;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        char command[64];
        holders_read_command(pid, command, sizeof(command));
        (void)snprintf(text, size, "pid %d (%s)", pid, command);
        return true;
    }
    return false;
}
