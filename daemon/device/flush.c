/* SPDX-License-Identifier: MIT */
#include "daemon/device/flush.h"

#include <assert.h>
#include <errno.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/device/device.h"
#include "daemon/device/hold.h"
#include "daemon/device/notify.h"

static void on_synced(struct io *io, int result);

/* Said when it is opened: after a failure it may be too late. */
static void flush_log_forgetful(const struct device *device)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "failure-not-kept");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_text(&line, "message",
             "nothing names this device for good: if a sync fails, a restart of the daemon forgets "
             "that");
    log_end(&line);
}

void flush_init(struct device *device)
{
    struct state_failure failure;
    sync_init(&device->sync.ledger, clock_unix_ms());
    TAILQ_INIT(&device->sync.mark_waiters);
    if (device->key.text[0] == '\0')
        flush_log_forgetful(device);
    device->sync.line =
        state_take_line(device->commons->state, &device->key, device->path, &device->sync.at_close);
    if (!state_find_failure(device->commons->state, &device->key, &failure))
        return;
    sync_init_failed(&device->sync.ledger, failure.error, failure.unix_ms);
    device->sync.mark_kept = true;
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

static void on_flush_letter(struct letter *letter)
{
    struct flush *flush = CONTAINER_OF(letter, struct flush, letter);
    flush->on_done(flush, flush->result);
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

static void flush_log_failure(const struct device *device, int error)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_ERROR, "device-failed");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_errno(&line, error);
    log_text(&line, "message",
             "a sync failed: acknowledged writes may be lost; writes and flushes are refused until "
             "it is recovered (blkd-cli recover)");
    log_end(&line);
}

static void flush_log_unkept(const struct device *device, int error, const char *message)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_ERROR, "failure-not-kept");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_errno(&line, error);
    log_text(&line, "message", message);
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
    int error =
        state_put_failure(device->commons->state, &device->key, device->path, &failure, message);
    device->sync.mark_lost = error < 0;
    if (error < 0)
        flush_log_unkept(device, error, message);
    else
        state_sync_ended(device->sync.line);
}

/* Whoever waits may be the device's last user: the device is not touched after the answers. */
static void on_mark_kept(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, sync.mark_job);
    struct loop *loop = device->sync.mark_loop;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);
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

void flush_fail(struct device *device, struct loop *loop, int error)
{
    if (device->sync.ledger.failed == 0)
        sync_fail(&device->sync.ledger, error, clock_unix_ms());
    if (device->sync.mark_loop != NULL || device->sync.mark_kept)
        return;
    const struct happening_detail detail = {.error = device->sync.ledger.failed};
    flush_log_failure(device, device->sync.ledger.failed);
    commons_tell(device->commons, HAPPENING_SYNC_FAILED, device, NULL, &detail);
    device->sync.mark_loop = loop;
    state_sync_begins(device->sync.line); /* until the mark is put */
    device->sync.mark_job = (struct helper_job){.run = on_mark_run, .on_done = on_mark_kept};
    loop_hold(loop);
    hold_take(device);
    loop_submit(loop, &device->sync.mark_job);
}

bool flush_await_mark(struct device *device, struct flush *wait)
{
    pthread_mutex_lock(&device->mutex);
    bool pending = device->sync.ledger.failed != 0 && !device->sync.mark_kept;
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

int flush_begin(struct device *device, struct flush *flush)
{
    int result = 1;
    pthread_mutex_lock(&device->mutex);
    enum sync_verdict verdict = sync_flush(&device->sync.ledger, &flush->waiter);
    if (verdict == SYNC_DONE)
        result = 0;
    else if (verdict == SYNC_FAILED && device->sync.mark_kept)
        result = device->sync.ledger.failed;
    else if (verdict == SYNC_FAILED)
        TAILQ_INSERT_TAIL(&device->sync.mark_waiters, &flush->waiter, link);
    pthread_mutex_unlock(&device->mutex);
    if (verdict == SYNC_START)
        flush_start_sync(device, flush->loop, flush->user_share);
    return result;
}
