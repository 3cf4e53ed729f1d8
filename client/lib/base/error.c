/* SPDX-License-Identifier: MIT */
/* See error.h. */
#include "client/lib/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/blkd.h"

static _Thread_local char thread_message[ERROR_MESSAGE_MAX];
static _Thread_local enum blkd_reason thread_reason;

/* Where strerror's words speak of something else than what has happened to a block device. */
static const struct {
    int error;
    const char *words;
} block_words[] = {
    {ENOTCONN, "Not connected to blkd"},
    {EOPNOTSUPP, "Not supported for this device"},
    {EROFS, "Device is read-only"},
    {EBADF, "Device is not open"},
    {EBUSY, "Device is in use or locked"},
    {ENOTBLK, "Not a regular file or block device"},
    {EDEADLK, "Waiting here would deadlock"},
    {EDQUOT, "A limit of blkd was reached"},
    {ESTALE, "The lock was taken away"},
    {EPROTO, "Protocol error between program and blkd"},
    {EBADMSG, "Malformed message between program and blkd"},
    {EMSGSIZE, "Message between program and blkd too large"},
    {E2BIG, "Message between program and blkd too large when decoded"},
    {ESHUTDOWN, "blkd is shutting down"},
    {ECANCELED, "Canceled"},
    {ETIMEDOUT, "Timed out"},
    {EALREADY, "Already done or in progress"},
    {EOWNERDEAD, "The daemon died during a sync"},
};

void error_set(const char *format, ...)
{
    int saved_errno = errno; /* callers name it after this */
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(thread_message, sizeof(thread_message), format, arguments);
    va_end(arguments);
    thread_reason = BLKD_REASON_NONE;
    errno = saved_errno;
}

void error_set_reason(enum blkd_reason reason)
{
    thread_reason = reason;
}

enum blkd_reason blkd_error_reason(void)
{
    return thread_reason;
}

const char *blkd_error_message(void)
{
    return thread_message;
}

const char *blkd_strerror(int error)
{
    const char *words;

    if (error == 0)
        return "Success";
    for (size_t i = 0; i < sizeof(block_words) / sizeof(block_words[0]); i++)
        if (block_words[i].error == abs(error))
            return block_words[i].words;
    words = strerrordesc_np(abs(error)); /* unlike strerror: no shared buffer, not translated */
    return words != NULL ? words : "Unknown error";
}
