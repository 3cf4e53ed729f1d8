/* SPDX-License-Identifier: MIT */
/* /proc and the clocks of processes; see process.h. */
#include "tests/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/clock.h"

int process_find_bytes(const char *text, const char *name, uint64_t *ret_bytes)
{
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0 || line[length] != ':')
            continue;
        char *end;
        unsigned long long kib = strtoull(line + length + 1, &end, 10);
        if (end == line + length + 1 || strncmp(end, " kB", 3) != 0)
            return -ENODATA;
        *ret_bytes = kib * 1024;
        return 0;
    }
    return -ENODATA;
}

static int read_proc(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    if (got < 0)
        return -errno;
    text[got] = '\0';
    return 0;
}

double process_bytes_each(uint64_t before_bytes, uint64_t after_bytes, unsigned int count)
{
    return after_bytes > before_bytes && count
               ? (double)(after_bytes - before_bytes) / (double)count
               : 0;
}

int process_read_memory(pid_t pid, struct process_memory *ret_memory)
{
    char text[4096];
    struct process_memory memory = {0};
    int r = read_proc(pid, "smaps_rollup", text, sizeof(text));
    if (r == 0 && process_find_bytes(text, "Rss", &memory.rss_bytes) == 0 &&
        process_find_bytes(text, "Pss", &memory.pss_bytes) == 0) {
        *ret_memory = memory;
        return 0;
    }
    r = read_proc(pid, "status", text, sizeof(text));
    if (r == 0)
        r = process_find_bytes(text, "VmRSS", &memory.rss_bytes);
    if (r == 0)
        *ret_memory = memory;
    return r;
}

/* The CPU clock of a process counts all its threads, also those that have ended and io_uring's
 * workers, in nanoseconds; /proc/PID/stat would count in ticks. */
int process_read_cpu(pid_t pid, uint64_t *ret_cpu_ns)
{
    clockid_t clock;
    int r = clock_getcpuclockid(pid, &clock);
    if (r == 0)
        *ret_cpu_ns = clock_ns(clock);
    return -r;
}

uint64_t process_raise_descriptors(uint64_t wanted)
{
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
    if (wanted > limit.rlim_max)
        raised.rlim_max = wanted; /* root may */
    if (wanted <= limit.rlim_cur || setrlimit(RLIMIT_NOFILE, &raised) == 0)
        return wanted > limit.rlim_cur ? wanted : limit.rlim_cur;
    raised = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? limit.rlim_max : limit.rlim_cur;
}
