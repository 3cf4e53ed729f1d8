/* SPDX-License-Identifier: MIT */
#include "daemon/device/flush.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/device/device.h"
#include "daemon/device/hold.h"
#include "daemon/device/notify.h"
#include "daemon/storage/outside/outside.h"

static void on_synced(struct io *io, int result);
static int flush_step(struct flush *flush);

/* A copy of a file system has the keys of the original's files (contract L8). */
static void flush_find_doubt(struct device *device, const struct state_failure *failure)
{
    struct log_line line;
    if (!outside_places_differ(failure->place, device->place.text) ||
        asprintf(&device->sync.doubt,
                 "the mark of the failure may belong to a copy of the file system: it was made on "
                 "%s (device %.*s, on other storage than now): if this is not the one that failed, "
                 "recover it",
                 failure->path, (int)strcspn(failure->place, " "), failure->place) < 0)
        return;
    log_begin(&line, LOG_LEVEL_WARNING, "mark-in-doubt");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_text(&line, "message", device->sync.doubt);
    log_end(&line);
}

/* `error`: why the mark could not be put; 0: it never can be, which is said when the device is
 * opened, since after a failure it may be too late. */
static void flush_log_unkept(const struct device *device, int error, const char *message)
{
    struct log_line line;
    log_begin(&line, error < 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "failure-not-kept");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    if (error < 0)
        log_errno(&line, error);
    log_text(&line, "message", message);
    log_end(&line);
}

void flush_init(struct device *device)
{
    struct state_failure failure;
    sync_init(&device->sync.ledger, clock_unix_ms());
    TAILQ_INIT(&device->sync.mark_waiters);
    if (device->key.text[0] == '\0')
        flush_log_unkept(device, 0,
                         "nothing names this device for good: if a sync fails, a restart of the "
                         "daemon forgets that");
    device->sync.line =
        state_take_line(device->commons->state, &device->key, device->path, &device->sync.at_close);
    if (!state_find_failure(device->commons->state, &device->key, &failure))
        return;
    sync_init_failed(&device->sync.ledger, failure.error, failure.unix_ms);
    device->sync.mark_kept = true;
    flush_find_doubt(device, &failure);
}

void flush_deinit(struct device *device)
{
    if (!device->sync.mark_lost)
        device->sync.line = state_drop_line(device->commons->state, device->sync.line);
}

void flush_sync_at_close(struct device *device)
{
    if (device->sync.at_close)
        return;
    device->sync.at_close = true;
    state_set_unsynced(device->sync.line, true);
}

void flush_fua_begins(struct device *device)
{
    state_sync_begins(device->sync.line);
}

void flush_fua_ended(struct device *device)
{
    state_sync_ended(device->sync.line);
}

void flush_recovered(struct device *device)
{
    device->sync.mark_lost = false;
}

static void flush_start_sync(struct device *device, struct io_loop *loop,
                             struct helper_share *user_share)
{
    loop_hold(&loop->base);
    state_sync_begins(device->sync.line);
    device->sync.began_ns = clock_ns();
    device->sync.io =
        (struct io){.op = IO_SYNC, .loop = loop, .user_share = user_share, .on_done = on_synced};
    backend_submit(device->backend, &device->sync.io);
}

/* The device itself comes last: whether one that was synced for it has failed, it knows by now. */
static void on_flush_letter(struct letter *letter)
{
    struct flush *flush = CONTAINER_OF(letter, struct flush, letter);
    int result = flush->result;
    if (flush->device != NULL)
        result = flush_step(flush);
    if (result <= 0)
        flush->on_done(flush, result);
}

static void flush_answer(struct sync_waiter_list *answered, int result)
{
    while (!TAILQ_EMPTY(answered)) {
        struct sync_waiter *waiter = TAILQ_FIRST(answered);
        struct flush *flush = CONTAINER_OF(waiter, struct flush, waiter);
        TAILQ_REMOVE(answered, waiter, link);
        flush->result = result;
        flush->letter.deliver = on_flush_letter;
        loop_post(&flush->loop->base, &flush->letter);
    }
}

/* `origin`: the device whose sync it was, or NULL: its own. */
static void flush_log_failure(const struct device *device, const struct device *origin, int error)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_ERROR, "device-failed");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_errno(&line, error);
    if (origin != NULL)
        log_text(&line, "shares-bytes-with", origin->path);
    log_text(
        &line, "message",
        origin != NULL
            ? "a sync of a device that shares bytes with it failed: acknowledged writes may be "
              "lost; writes and flushes are refused until it is recovered, too (blkd-cli "
              "recover)"
            : "a sync failed: acknowledged writes may be lost; writes and flushes are refused "
              "until it is recovered (blkd-cli recover)");
    log_end(&line);
}

/* ---- the mark ---- */

static void on_mark_run(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, sync.mark_job);
    char message[STATE_MESSAGE_MAX] = "";
    pthread_mutex_lock(&device->mutex);
    struct state_failure failure = {.error = device->sync.ledger.failed,
                                    .unix_ms = device->sync.ledger.failed_ms};
    pthread_mutex_unlock(&device->mutex);
    (void)snprintf(failure.place, sizeof(failure.place), "%s", device->place.text);
    int error =
        state_put_failure(device->commons->state, &device->key, device->path, &failure, message);
    device->sync.mark_lost = error < 0;
    if (error < 0)
        flush_log_unkept(device, error, message);
    else
        state_sync_ended(device->sync.line);
}

static void flush_fail_for(struct device *device, const struct device *origin, struct loop *loop,
                           int error);

/* What it has lost are bytes of the others as well. One that failed for another's sake passes on
 * only what it may have lost itself: those who share its bytes need not share that one's. */
void flush_fail_related(struct device *device, struct loop *loop)
{
    const struct sync_ledger *ledger = &device->sync.ledger;
    relations_enter(device);
    bool loses = !device->sync.inherited || (device->read_write && sync_unsynced(ledger));
    for (unsigned int i = 0; loses && i < device->relations.count; i++) {
        struct device *other = device->relations.devices[i];
        if (other->sync.ledger.failed != 0 || other->sync.ended)
            continue;
        other->sync.inherited = true;
        flush_fail_for(other, device, loop, ledger->failed);
    }
    relations_leave(device);
}

/* Whoever waits may be the device's last user: the device is not touched after the answers. */
static void on_mark_kept(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, sync.mark_job);
    struct loop *loop = device->sync.mark_loop;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);
    flush_fail_related(device, loop);
    pthread_mutex_lock(&device->mutex);
    int failed = device->sync.ledger.failed;
    device->sync.mark_kept = true;
    notify_device(device, NULL, SESSION_EVENT_SYNC_FAILED);
    TAILQ_CONCAT(&answered, &device->sync.mark_waiters, link);
    pthread_mutex_unlock(&device->mutex);
    flush_answer(&answered, failed);
    hold_drop(device);
    loop_release(loop);
}

static void flush_fail_for(struct device *device, const struct device *origin, struct loop *loop,
                           int error)
{
    if (device->sync.ledger.failed == 0)
        sync_fail(&device->sync.ledger, error, clock_unix_ms());
    if (device->sync.mark_loop != NULL || device->sync.mark_kept)
        return;
    const struct happening_detail detail = {.error = device->sync.ledger.failed};
    flush_log_failure(device, origin, device->sync.ledger.failed);
    commons_tell(device->commons, HAPPENING_SYNC_FAILED, device, NULL, &detail);
    device->sync.mark_loop = loop;
    state_sync_begins(device->sync.line); /* until the mark is put */
    device->sync.mark_job = (struct helper_job){.run = on_mark_run, .on_done = on_mark_kept};
    loop_hold(loop);
    hold_take(device);
    loop_submit(loop, &device->sync.mark_job);
}

void flush_fail(struct device *device, struct loop *loop, int error)
{
    flush_fail_for(device, NULL, loop, error);
}

bool flush_await_mark(struct device *device, struct flush *wait)
{
    pthread_mutex_lock(&device->mutex);
    bool pending = device->sync.ledger.failed != 0 && !device->sync.mark_kept;
    wait->device = NULL;
    if (pending)
        TAILQ_INSERT_TAIL(&device->sync.mark_waiters, &wait->waiter, link);
    pthread_mutex_unlock(&device->mutex);
    return pending;
}

/* Of the first whom the sync that begins will answer, who therefore outlasts it. */
static struct helper_share *flush_first_share(struct device *device)
{
    struct sync_waiter *waiter = TAILQ_FIRST(&device->sync.ledger.current);
    return CONTAINER_OF(waiter, struct flush, waiter)->user_share;
}

/* With the device's mutex held. Those who are answered with a failure wait for the mark. */
static void flush_hold_answers(struct device *device, struct sync_waiter_list *answered)
{
    if (device->sync.ledger.failed != 0 && !device->sync.mark_kept)
        TAILQ_CONCAT(&device->sync.mark_waiters, answered, link);
}

static void on_synced(struct io *io, int result)
{
    struct device *device = CONTAINER_OF(io, struct device, sync.io);
    struct io_loop *loop = io->loop;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);

    pthread_mutex_lock(&device->mutex);
    uint64_t took_us = (clock_ns() - device->sync.began_ns) / 1000;
    bool again = sync_completed(&device->sync.ledger, result, clock_unix_ms(), took_us, &answered);
    int failed = device->sync.ledger.failed;
    if (failed != 0)
        flush_fail(device, &loop->base, failed);
    state_sync_ended(device->sync.line);
    flush_hold_answers(device, &answered);
    if (!again && failed == 0 && !sync_unsynced(&device->sync.ledger)) {
        device->sync.at_close = false;
        state_set_unsynced(device->sync.line, false);
    }
    struct helper_share *user_share = again ? flush_first_share(device) : NULL;
    pthread_mutex_unlock(&device->mutex);

    loop_release(&loop->base);
    if (again)
        flush_start_sync(device, loop, user_share);
    /* Whoever waits may be the device's last user: the device is not touched after this. */
    flush_answer(&answered, failed);
}

/* ---- a flush ---- */

/* With the device's mutex held: as flush_begin, of the device's own changes. *ret_start: the caller
 * starts a sync when the mutex is free. */
static int flush_ask(struct device *device, struct flush *flush, bool *ret_start)
{
    enum sync_verdict verdict = sync_flush(&device->sync.ledger, &flush->waiter);
    *ret_start = verdict == SYNC_START;
    if (verdict == SYNC_DONE)
        return 0;
    if (verdict != SYNC_FAILED)
        return 1;
    if (device->sync.mark_kept)
        return device->sync.ledger.failed;
    TAILQ_INSERT_TAIL(&device->sync.mark_waiters, &flush->waiter, link);
    return 1;
}

/* Whether a flush of one that shares bytes with it waits for something here: for a sync, or, of one
 * that has just failed, until that is told to the others. */
static bool flush_concerns(const struct device *other)
{
    const struct flushing *sync = &other->sync;
    if (sync->ledger.failed != 0)
        return !sync->mark_kept;
    return !sync->ended && sync_unsynced(&sync->ledger);
}

/* The next one that shares bytes with the device and has something to wait for. NULL: none is left.
 * With what relations_enter takes. */
static struct device *flush_next_related(const struct flush *flush)
{
    const struct relations *relations = &flush->device->relations;
    for (unsigned int i = 0; i < relations->count; i++) {
        struct device *other = relations->devices[i];
        if (other->number > flush->related && flush_concerns(other))
            return other;
    }
    return NULL;
}

/* One after the other, the device itself last. What a sync runs on is not closed: flush_end waits
 * for it. */
static int flush_step(struct flush *flush)
{
    struct device *device = flush->device;
    bool start = false;
    relations_enter(device);
    struct device *next = flush_next_related(flush);
    if (next != NULL) {
        flush->related = next->number;
    } else {
        flush->device = NULL;
        next = device;
    }
    int result = flush_ask(next, flush, &start);
    relations_leave(device);
    if (start)
        flush_start_sync(next, flush->loop, flush->user_share);
    return result;
}

int flush_begin(struct device *device, struct flush *flush)
{
    bool start = false;
    int result = 0;
    flush->device = NULL;
    flush->related = 0;
    pthread_mutex_lock(&device->mutex);
    bool related = device->relations.count > 0 && device->sync.ledger.failed == 0;
    if (!related)
        result = flush_ask(device, flush, &start);
    pthread_mutex_unlock(&device->mutex);
    if (related) {
        flush->device = device;
        return flush_step(flush);
    }
    if (start)
        flush_start_sync(device, flush->loop, flush->user_share);
    return result;
}

bool flush_would_sync(const struct device *device)
{
    const struct flush flush = {.device = (struct device *)(uintptr_t)device};
    return sync_unsynced(&device->sync.ledger) || flush_next_related(&flush) != NULL;
}

int flush_end(struct device *device, struct flush *flush)
{
    const struct sync_ledger *ledger = &device->sync.ledger;
    bool start = false;
    int result = 0;
    flush->device = NULL;
    pthread_mutex_lock(&device->mutex);
    bool needed = sync_unsynced(ledger) &&
                  (device->sync.at_close || ledger->running || device->relations.count > 0);
    if (ledger->failed != 0 && device->sync.mark_kept)
        result = ledger->failed;
    else if (ledger->failed != 0 || needed)
        result = flush_ask(device, flush, &start);
    device->sync.ended = result == 0;
    pthread_mutex_unlock(&device->mutex);
    if (start)
        flush_start_sync(device, flush->loop, flush->user_share);
    return result;
}
