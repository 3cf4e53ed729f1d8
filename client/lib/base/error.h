/* SPDX-License-Identifier: MIT */
/*
 * The message that goes with an error: one for each thread, of its last failed call.
 */
#ifndef BLKD_CLIENT_LIB_BASE_ERROR_H
#define BLKD_CLIENT_LIB_BASE_ERROR_H

#include "client/blkd.h"
#include "client/lib/base/trace.h"

enum { ERROR_MESSAGE_MAX = 1024 };

/* Sets the calling thread's message. */
void error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Afterwards: what stood in the way, which error_set takes for unknown. */
void error_set_reason(enum blkd_reason reason);

/* error_set, and its value is `error`, a negative errno. A macro, so that the compiler sees a
 * failure where there is one. */
#define error_report(error, ...) (error_set(__VA_ARGS__), error_trace(error), (error))

/* Calls that are refused at once are traced here; the others have a line of their own. */
static inline void error_trace(int error)
{
    if (trace_enabled())
        trace_write_refusal(blkd_error_message(), error);
}

#endif
