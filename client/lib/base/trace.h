/* SPDX-License-Identifier: MIT */
/*
 * $LIBBLKD_DEBUG: a line on stderr for each call, when it ends: what it was, its result, how long
 * it took. Nothing of the data that is read or written. Never changes errno. Off, which it is
 * unless the variable is set, a call costs a branch at its begin and one at its end.
 */
#ifndef BLKD_CLIENT_LIB_BASE_TRACE_H
#define BLKD_CLIENT_LIB_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace {
    char *text; /* NULL: it is not traced */
    uint64_t began_ns;
};

extern bool trace_on; /* any thread; trace_enabled */

static inline bool trace_enabled(void)
{
    return __builtin_expect(__atomic_load_n(&trace_on, __ATOMIC_RELAXED), false);
}

/* Looks at the environment: "" and "0" are off. */
void trace_init(void);

/* What is done, for a person: to be called if trace_enabled(). Begun again before its end, it is
 * the second that counts. */
void trace_begin(struct trace *trace, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How it ended: 0 or more, or a negative errno. Writes the line, if it was begun. */
void trace_write_end(struct trace *trace, int result);

static inline void trace_end(struct trace *trace, int result)
{
    if (__builtin_expect(trace->text != NULL, false))
        trace_write_end(trace, result);
}

/* A call that was refused before it began: `message` says which and why. */
void trace_write_refusal(const char *message, int error);

#endif
