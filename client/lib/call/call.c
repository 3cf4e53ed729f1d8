/* SPDX-License-Identifier: MIT */
/* See call.h. */
#include "client/lib/call/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/base/error.h"
#include "common/cleanup.h"

enum { CALL_TEXT_MAX = 512 };

void call_table_init(struct call_table *table, const struct call_owner *owner)
{
    table->owner = owner;
    table->lost = false;
    TAILQ_INIT(&table->active);
    TAILQ_INIT(&table->backlog);
    TAILQ_INIT(&table->ring_backlog);
    TAILQ_INIT(&table->pool);
    table->pooled = 0;
}

static void call_deinit(struct call *call)
{
    if (call->operation != NULL && call->operation->release != NULL)
        call->operation->release(call->asked.context);
    if (call->buffers.copy != call->buffers.few)
        free(call->buffers.copy);
    free(call->result.message);
    free(call->asked.text);
    free(call->trace.text);
    if (call->passing.fd >= 0)
        (void)close(call->passing.fd);
}

bool call_table_waits(const struct call_table *table)
{
    return !TAILQ_EMPTY(&table->backlog) || !TAILQ_EMPTY(&table->ring_backlog);
}

void call_table_deinit(struct call_table *table)
{
    struct call *call;

    while ((call = TAILQ_FIRST(&table->active)) != NULL) {
        TAILQ_REMOVE(&table->active, call, link);
        call_deinit(call);
        free(call);
    }
    while ((call = TAILQ_FIRST(&table->pool)) != NULL) {
        TAILQ_REMOVE(&table->pool, call, link);
        free(call);
    }
}

struct call *call_new(struct call_table *table)
{
    struct call *call = TAILQ_FIRST(&table->pool);

    if (call != NULL) {
        TAILQ_REMOVE(&table->pool, call, link);
        table->pooled--;
    } else {
        call = malloc(sizeof(*call));
        if (call == NULL)
            return NULL;
    }
    *call = (struct call){.table = table, .passing.fd = -1};
    return call;
}

void call_release(struct call *call)
{
    struct call_table *table = call->table;

    call_deinit(call);
    if (table->pooled >= CALL_POOL_MAX) {
        free(call);
        return;
    }
    TAILQ_INSERT_HEAD(&table->pool, call, link);
    table->pooled++;
}

/* The daemon's sentence begins with what was tried on which path, as `subject` does: what is left
 * of it is the reason. NULL: it says no more than the errno. */
static const char *call_reason(const char *subject, int error, const char *detail)
{
    const char *path = strchr(subject, '/');
    const char *found = path != NULL ? strstr(detail, path) : NULL;

    if (found != NULL && strncmp(found + strlen(path), ": ", 2) == 0)
        detail = found + strlen(path) + 2;
    return *detail == '\0' || strcmp(detail, blkd_strerror(error)) == 0 ? NULL : detail;
}

static bool call_ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

void call_set_failure(struct call *call, int error, const char *detail)
{
    char subject[CALL_TEXT_MAX] = "call";

    call->operation->describe(call, subject, sizeof(subject));
    const char *words = blkd_strerror(error);
    const char *reason = detail != NULL ? call_reason(subject, error, detail) : NULL;
    bool both = reason != NULL && !call_ends_with(reason, words);
    call->result.error = error;
    free(call->result.message);
    if (asprintf(&call->result.message, "%s failed: %s%s%s", subject,
                 both || reason == NULL ? words : "", both ? ": " : "",
                 reason != NULL ? reason : "") < 0)
        call->result.message = NULL;
}

void call_tell_message(const struct call *call)
{
    const struct call_result *result = &call->result;

    if (result->error < 0) {
        error_set("%s", result->message != NULL ? result->message : blkd_strerror(result->error));
        error_set_reason(result->reason);
    }
}

static struct call_list *call_backlog(const struct call *call)
{
    struct call_table *table = call->table;

    return call->progress.by_ring ? &table->ring_backlog : &table->backlog;
}

static void call_enter_backlog(struct call *call)
{
    TAILQ_INSERT_TAIL(call_backlog(call), call, backlog_link);
    call->progress.in_backlog = true;
}

static void call_leave_backlog(struct call *call)
{
    if (!call->progress.in_backlog)
        return;
    TAILQ_REMOVE(call_backlog(call), call, backlog_link);
    call->progress.in_backlog = false;
}

void call_part_started(struct call *call, bool more)
{
    call->progress.parts_in_flight++;
    call_leave_backlog(call);
    if (more)
        call_enter_backlog(call);
}

static void call_complete(struct call *call)
{
    struct call_table *table = call->table;

    call_leave_backlog(call);
    TAILQ_REMOVE(&table->active, call, link);
    call->progress.state = CALL_DONE;
    if (call->operation->on_done != NULL)
        call->operation->on_done(call);
    trace_end(&call->trace, call->result.error);
    if (call->session != NULL)
        session_call_ended(call->session, call->asked.parked);
    table->owner->on_done(table, call);
}

static void call_trace(struct call *call)
{
    char text[CALL_TEXT_MAX] = "call";

    call->operation->describe(call, text, sizeof(text));
    trace_begin(&call->trace, "%s", text);
}

static void call_activate(struct call *call)
{
    if (trace_enabled())
        call_trace(call);
    free(TAKE_PTR(call->result.message));
    call->result.error = 0;
    call->result.reason = BLKD_REASON_NONE;
    call->progress.state = CALL_ACTIVE;
    TAILQ_INSERT_TAIL(&call->table->active, call, link);
    if (call->session != NULL)
        session_call_began(call->session, call->asked.parked);
}

void call_refuse(struct call *call, int error, const char *detail)
{
    call_activate(call);
    call_set_failure(call, error, detail);
    call_complete(call);
}

void call_submit(struct call *call)
{
    const struct call_table *table = call->table;

    if (table->lost) {
        call_refuse(call, -ENOTCONN, table->lost_reason);
        return;
    }
    if (call->range.empty && call->operation->changes && call->session->read_only) {
        call_refuse(call, -EROFS, "it is open read-only");
        return;
    }
    call_activate(call);
    if (call->range.empty)
        call_complete(call);
    else
        call_enter_backlog(call);
}

void call_part_refused(struct call *call, uint64_t offset_bytes, int error, const char *detail,
                       uint32_t reason)
{
    call_leave_backlog(call);
    if (call->result.error < 0 && call->result.failed_offset_bytes <= offset_bytes)
        return;
    call->result.failed_offset_bytes = offset_bytes;
    call->result.reason =
        reason <= BLKD_REASON_NO_RULE ? (enum blkd_reason)reason : BLKD_REASON_NONE;
    call_set_failure(call, error, detail);
}

void call_part_failed(struct call *call, uint64_t offset_bytes, int error, const char *detail)
{
    call_part_refused(call, offset_bytes, error, detail, BLKD_REASON_NONE);
}

void call_part_ended(struct call *call)
{
    call->progress.parts_in_flight--;
    if (call->progress.parts_in_flight == 0 && !call->progress.in_backlog)
        call_complete(call);
}

void call_fail_all(struct call_table *table)
{
    struct call *call;

    while ((call = TAILQ_FIRST(&table->active)) != NULL) {
        call_set_failure(call, -ENOTCONN, table->lost_reason);
        call_complete(call);
    }
}

void call_table_lose(struct call_table *table, const char *format, ...)
{
    va_list arguments;

    if (table->lost)
        return;
    table->lost = true;
    va_start(arguments, format);
    (void)vsnprintf(table->lost_reason, sizeof(table->lost_reason), format, arguments);
    va_end(arguments);
    table->owner->on_lost(table);
}
