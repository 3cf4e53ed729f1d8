/* SPDX-License-Identifier: MIT */
/*
 * A device's syncs: the ledger decides, this file starts what it says and tells those who wait. A
 * sync belongs to the device, not to the flush that started it; it runs on that one's worker.
 *
 * A failure is put into the state directory before anybody is told of it: a daemon that is killed
 * after a client has seen the error must not have forgotten it when it comes back (CONTRACT S5).
 */
#include <assert.h>
#include <errno.h>

#include "common/container.h"
#include "daemon/device/device.h"
#include "daemon/device/session.h"
#include "daemon/link/worker.h"

static void on_device_synced(struct io *io, int result);

static void device_start_sync(struct device *device, struct worker *worker,
                              struct helper_share *user_share)
{
    worker->pending++;
    device->sync_began_ns = worker_now_ns();
    device->sync_io = (struct io){
        .op = IO_SYNC, .worker = worker, .user_share = user_share, .on_done = on_device_synced};
    backend_submit(device->backend, &device->sync_io);
}

static void on_flush_letter(struct letter *letter)
{
    struct device_flush *flush = CONTAINER_OF(letter, struct device_flush, letter);
    flush->on_done(flush, flush->result);
}

static void device_answer(struct sync_waiter_list *answered, int result)
{
    while (!TAILQ_EMPTY(answered)) {
        struct sync_waiter *waiter = TAILQ_FIRST(answered);
        struct device_flush *flush = CONTAINER_OF(waiter, struct device_flush, waiter);
        TAILQ_REMOVE(answered, waiter, link);
        flush->result = result;
        flush->letter.deliver = on_flush_letter;
        mailbox_post(&flush->worker->mailbox, &flush->letter);
    }
}

static void device_log_failure(const struct device *device, int error)
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

static void device_log_unkept(const struct device *device, int error, const char *message)
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

static void on_failure_run(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, failure_job);
    char message[STATE_MESSAGE_MAX] = "";
    pthread_mutex_lock(&device->mutex);
    struct state_failure failure = {.error = device->sync.failed,
                                    .unix_ms = device->sync.failed_ms};
    pthread_mutex_unlock(&device->mutex);
    int error =
        state_put_failure(device->server->state, &device->key, device->path, &failure, message);
    if (error < 0)
        device_log_unkept(device, error, message);
}

/* Whoever waits may be the device's last user: the device is not touched after the answers. */
static void on_failure_kept(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, failure_job);
    struct worker *worker = device->failure_worker;
    struct registry *registry = &worker->server->registry;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);
    pthread_mutex_lock(&device->mutex);
    int failed = device->sync.failed;
    device->failure_kept = true;
    device_notify(device, NULL, SESSION_EVENT_SYNC_FAILED);
    TAILQ_CONCAT(&answered, &device->failure_answers, link);
    pthread_mutex_unlock(&device->mutex);
    device_answer(&answered, failed);
    registry_unhold(registry, device);
    worker->pending--;
}

void device_fail(struct device *device, struct worker *worker, int error)
{
    if (device->sync.failed == 0)
        sync_fail(&device->sync, error, worker_unix_ms());
    if (device->failure_worker != NULL || device->failure_kept)
        return;
    const struct watch_detail detail = {.error = device->sync.failed};
    device_log_failure(device, device->sync.failed);
    watch_publish(&device->server->watch, WATCH_SYNC_FAILED, device, NULL, &detail);
    device->failure_worker = worker;
    device->failure_job = (struct helper_job){.run = on_failure_run, .on_done = on_failure_kept};
    worker->pending++;
    registry_hold(device);
    worker_submit_job(worker, &device->failure_job);
}

bool device_await_mark(struct device *device, struct device_flush *wait)
{
    pthread_mutex_lock(&device->mutex);
    bool pending = device->sync.failed != 0 && !device->failure_kept;
    if (pending)
        TAILQ_INSERT_TAIL(&device->failure_answers, &wait->waiter, link);
    pthread_mutex_unlock(&device->mutex);
    return pending;
}

/* Of the first whom the sync that begins will answer, who therefore outlasts it. */
static struct helper_share *device_first_share(struct device *device)
{
    struct sync_waiter *waiter = TAILQ_FIRST(&device->sync.current);
    return CONTAINER_OF(waiter, struct device_flush, waiter)->user_share;
}

/* With the device's mutex held. Those who are answered with a failure wait for the mark. */
static void device_hold_answers(struct device *device, struct sync_waiter_list *answered)
{
    if (device->sync.failed != 0 && !device->failure_kept)
        TAILQ_CONCAT(&device->failure_answers, answered, link);
}

static void on_device_synced(struct io *io, int result)
{
    struct device *device = CONTAINER_OF(io, struct device, sync_io);
    struct worker *worker = io->worker;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);

    pthread_mutex_lock(&device->mutex);
    uint64_t took_us = (worker_now_ns() - device->sync_began_ns) / 1000;
    bool again = sync_completed(&device->sync, result, worker_unix_ms(), took_us, &answered);
    int failed = device->sync.failed;
    if (failed != 0)
        device_fail(device, worker, failed);
    device_hold_answers(device, &answered);
    if (!again && failed == 0 && !sync_unsynced(&device->sync))
        device->close_sync = false;
    struct helper_share *user_share = again ? device_first_share(device) : NULL;
    pthread_mutex_unlock(&device->mutex);

    worker->pending--;
    if (again)
        device_start_sync(device, worker, user_share);
    /* Whoever waits may be the device's last user: the device is not touched after this. */
    device_answer(&answered, failed);
}

int device_flush(struct device *device, struct device_flush *flush)
{
    int result = 1;
    pthread_mutex_lock(&device->mutex);
    enum sync_verdict verdict = sync_flush(&device->sync, &flush->waiter);
    if (verdict == SYNC_DONE)
        result = 0;
    else if (verdict == SYNC_FAILED && device->failure_kept)
        result = device->sync.failed;
    else if (verdict == SYNC_FAILED)
        TAILQ_INSERT_TAIL(&device->failure_answers, &flush->waiter, link);
    pthread_mutex_unlock(&device->mutex);
    if (verdict == SYNC_START)
        device_start_sync(device, flush->worker, flush->user_share);
    return result;
}
