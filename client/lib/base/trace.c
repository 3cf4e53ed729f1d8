/* SPDX-License-Identifier: MIT */
/* See trace.h. */
#include "client/lib/base/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/base/clock.h"

enum { TRACE_LINE_MAX = 1024, TRACE_NS_PER_US = 1000 };

bool trace_on;

void trace_init(void)
{
    const char *value = secure_getenv("LIBBLKD_DEBUG");
    bool on = value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;

    __atomic_store_n(&trace_on, on, __ATOMIC_RELAXED);
}

/* In one write, so that lines of threads do not mix; what no terminal and no line should get from a
 * path becomes '?'. */
__attribute__((format(printf, 1, 2))) static void trace_write(const char *format, ...)
{
    char line[TRACE_LINE_MAX];
    int begin = snprintf(line, sizeof(line), "libblkd[%d] ", (int)getpid());
    size_t length;
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line + begin, sizeof(line) - (size_t)begin - 1, format, arguments);
    va_end(arguments);
    length = strlen(line);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == '\x7f')
            line[i] = '?';
    line[length++] = '\n';
    (void)!write(STDERR_FILENO, line, length);
}

void trace_begin(struct trace *trace, const char *format, ...)
{
    int saved_errno = errno;
    va_list arguments;

    free(trace->text);
    va_start(arguments, format);
    if (vasprintf(&trace->text, format, arguments) < 0)
        trace->text = NULL;
    va_end(arguments);
    trace->began_ns = clock_now_ns();
    errno = saved_errno;
}

static const char *trace_name(int error)
{
    const char *name = strerrorname_np(-error);

    return name != NULL ? name : "unknown error";
}

void trace_write_end(struct trace *trace, int result)
{
    int saved_errno = errno;
    uint64_t us = (clock_now_ns() - trace->began_ns) / TRACE_NS_PER_US;

    if (result < 0)
        trace_write("%s: %d (%s), %" PRIu64 " us", trace->text, result, trace_name(result), us);
    else
        trace_write("%s: %d, %" PRIu64 " us", trace->text, result, us);
    free(trace->text);
    trace->text = NULL;
    errno = saved_errno;
}

void trace_write_refusal(const char *message, int error)
{
    int saved_errno = errno;

    trace_write("%s: %d (%s), at once", message, error, trace_name(error));
    errno = saved_errno;
}
