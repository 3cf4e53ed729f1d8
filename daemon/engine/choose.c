/* SPDX-License-Identifier: MIT */
/*
 * Makes an engine of the kind that a name asks for. The only file that knows all kinds.
 */
#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/engine/impl.h"

#define FAULT_PREFIX "fault:"

static int new_auto(struct engine **ret_engine, int *ret_fallback_reason)
{
    int reason = uring_new(ret_engine);
    if (reason == 0) {
        *ret_fallback_reason = 0;
        return 0;
    }

    int error = threads_new(ret_engine);
    if (error < 0)
        return error;
    *ret_fallback_reason = reason;
    return 0;
}

/* Any engine but the one that wraps another. */
static int new_plain(const char *name, struct engine **ret_engine, int *ret_fallback_reason)
{
    if (strcmp(name, "auto") == 0)
        return new_auto(ret_engine, ret_fallback_reason);
    if (strcmp(name, "io_uring") == 0)
        return uring_new(ret_engine);
    if (strcmp(name, "threads") == 0)
        return threads_new(ret_engine);
    return -EINVAL;
}

/* "ENGINE:RULES" */
static int new_fault(const char *text, struct engine **ret_engine, int *ret_fallback_reason)
{
    const char *colon = strchr(text, ':');
    if (!colon)
        return -EINVAL;

    CLEANUP_FREE char *inner_name = strndup(text, (size_t)(colon - text));
    if (!inner_name)
        return -ENOMEM;

    struct engine *inner;
    int reason = 0;
    int error = new_plain(inner_name, &inner, &reason);
    if (error < 0)
        return error;

    error = fault_new(colon + 1, inner, ret_engine);
    if (error < 0) {
        engine_free(inner);
        return error;
    }
    *ret_fallback_reason = reason;
    return 0;
}

int engine_new(const char *name, struct engine **ret_engine, int *ret_fallback_reason)
{
    int ignored;

    if (!ret_fallback_reason)
        ret_fallback_reason = &ignored;
    if (strncmp(name, FAULT_PREFIX, strlen(FAULT_PREFIX)) == 0)
        return new_fault(name + strlen(FAULT_PREFIX), ret_engine, ret_fallback_reason);
    return new_plain(name, ret_engine, ret_fallback_reason);
}
