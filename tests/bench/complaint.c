/* SPDX-License-Identifier: MIT */
/* A counter that all processes share; see complaint.h. */
#include "tests/bench/complaint.h"

#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

enum { COMPLAINTS_MAX = 4, MESSAGE_BYTES = 1024 };

static _Atomic unsigned int *count;

int complaint_init(void)
{
    void *shared =
        mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return -errno;
    count = shared;
    return 0;
}

void complain(const char *format, ...)
{
    if (atomic_fetch_add(count, 1) >= COMPLAINTS_MAX)
        return;
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    char line[MESSAGE_BYTES + 16];
    (void)snprintf(line, sizeof(line), "blkd-bench: %s\n", message);
    (void)fputs(line, stderr);
}

void complaint_end(void)
{
    unsigned int all = atomic_load(count);
    if (all > COMPLAINTS_MAX)
        warnx("%u further messages such as these are left out", all - COMPLAINTS_MAX);
}
