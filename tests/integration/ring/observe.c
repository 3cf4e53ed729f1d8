/* SPDX-License-Identifier: MIT */
#include "observe.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "harness.h"

unsigned int observe_descriptors(pid_t pid)
{
    char path[64];
    unsigned int count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    ck_assert_msg(directory != NULL, "cannot open %s", path);
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.' ? 1 : 0;
    (void)closedir(directory);
    return count;
}

unsigned int observe_shared_mappings(pid_t pid)
{
    char path[64];
    char *line = NULL;
    size_t size = 0;
    unsigned int count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    ck_assert_msg(maps != NULL, "cannot open %s", path);
    while (getline(&line, &size, maps) >= 0)
        count += strstr(line, "memfd:") != NULL ? 1 : 0;
    free(line);
    (void)fclose(maps);
    return count;
}

uint64_t observe_memory(int fd)
{
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

uint64_t observe_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool observe_in_time(uint64_t begin_ms, uint64_t limit_ms)
{
    return harness_in_time(observe_now_ms() - begin_ms, limit_ms);
}

bool observe_again(uint64_t begin_ms, uint64_t limit_ms)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    (void)nanosleep(&moment, NULL);
    return observe_in_time(begin_ms, limit_ms);
}
