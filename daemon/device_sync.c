/* SPDX-License-Identifier: MIT */
/*
 * A device's syncs: the ledger decides, this file starts what it says and tells those who wait. A
 * sync belongs to the device, not to the flush that started it; it runs on that one's worker.
 */
#include <assert.h>
#include <errno.h>

#include "common/container.h"
#include "daemon/device.h"
#include "daemon/session.h"
#include "daemon/worker.h"

static void on_device_synced(struct io *io, int result);

static void device_start_sync(struct device *device, struct worker *worker,
                              struct helper_share *user_share)
{
    worker->pending++;
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
             "the daemon is restarted");
    log_end(&line);
}

void device_fail(struct device *device, int error)
{
    if (device->sync.failed == 0) {
        sync_fail(&device->sync, error);
        device_log_failure(device, error);
        device_notify(device, NULL, SESSION_EVENT_SYNC_FAILED);
    }
}

/* Of the first whom the sync that begins will answer, who therefore outlasts it. */
static struct helper_share *device_first_share(struct device *device)
{
    struct sync_waiter *waiter = TAILQ_FIRST(&device->sync.current);
    return CONTAINER_OF(waiter, struct device_flush, waiter)->user_share;
}

static void on_device_synced(struct io *io, int result)
{
    struct device *device = CONTAINER_OF(io, struct device, sync_io);
    struct worker *worker = io->worker;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);

    pthread_mutex_lock(&device->mutex);
    bool was_failed = device->sync.failed != 0;
    bool again = sync_completed(&device->sync, result, &answered);
    int failed = device->sync.failed;
    if (failed != 0 && !was_failed) {
        device_log_failure(device, failed);
        device_notify(device, NULL, SESSION_EVENT_SYNC_FAILED);
    }
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
    pthread_mutex_lock(&device->mutex);
    enum sync_verdict verdict = sync_flush(&device->sync, &flush->waiter);
    int failed = device->sync.failed;
    pthread_mutex_unlock(&device->mutex);
    switch (verdict) {
    case SYNC_DONE:
        return 0;
    case SYNC_FAILED:
        return failed;
    case SYNC_START:
        device_start_sync(device, flush->worker, flush->user_share);
        return 1;
    case SYNC_WAIT:
        return 1;
    }
    return -EINVAL;
}
