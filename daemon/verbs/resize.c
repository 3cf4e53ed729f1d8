/* SPDX-License-Identifier: MIT */
/*
 * Resize (contract S9). It is a task of the device: one at a time. Growing: the file first, then
 * the bound. Shrinking: the bound first, so that nothing new begins in the part that goes away;
 * then what began before ends; then the file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/container.h"
#include "common/range.h"
#include "daemon/base/clock.h"
#include "daemon/device/session.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int resize_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->resize->session;
    request->asked.value = message->resize->size_bytes;
    return 0;
}

static void on_resized(struct io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, work.io);
    struct session *session = request->session;
    struct device *device = session->device;

    /* One that failed may have been seen as a smaller device while it was tried: that is over, and
     * an event says so too. */
    pthread_mutex_lock(&device->mutex);
    device->size_bytes = result == 0 ? io->value : io->size_bytes;
    device->generation = device_next_generation(device);
    device->resized = true;
    sync_changed(&device->sync.ledger, &session->unsynced, clock_unix_ms());
    if (session->asked.sync != SESSION_SYNC_NONE)
        flush_sync_at_close(device);
    notify_device(device, session, SESSION_EVENT_RESIZED);
    if (result < 0)
        session->stats.errors++;
    gate_leave(device, session, request->work.ticket);
    const struct happening_detail detail = {.size_bytes = device->size_bytes,
                                            .generation = device->generation};
    commons_tell(device->commons, HAPPENING_RESIZED, device, session, &detail);
    bool late = device->sync.ledger.failed != 0;
    pthread_mutex_unlock(&device->mutex);
    if (late)
        flush_fail_related(device, &io->loop->base);

    task_done(device, &request->work.task);
    if (result < 0)
        request_fail(request, result, "resize of %s to %llu bytes: %s", session->path,
                     (unsigned long long)io->value, strerror(-result));
    else
        request_finish(request, 0);
}

static int resize_check(const struct request *request, uint64_t size_bytes,
                        struct gate_refusal *refusal)
{
    const struct session *session = request->session;
    const struct device *device = session->device;
    bool shrinks = request->asked.value < size_bytes;
    const struct lock_range range = {shrinks ? request->asked.value : size_bytes, UINT64_MAX};
    int error = gate_may_change(device, session, range, refusal);
    if (error == 0 && shrinks && !session_lock_covers(session, range) &&
        TAILQ_NEXT(TAILQ_FIRST(&device->sessions), device_link) != NULL) {
        (void)snprintf(
            refusal->text, sizeof(refusal->text),
            "other sessions have it open: shrinking it needs an exclusive lock (lock=1)");
        refusal->reason = REFUSAL_OPEN;
        error = -EBUSY;
    }
    return error;
}

static void resize_refuse(struct request *request, int error, const struct gate_refusal *refusal)
{
    struct session *session = request->session;
    task_done(session->device, &request->work.task);
    request->refusal = refusal->reason;
    request_fail(request, error, "resize of %s to %llu bytes: %s", session->path,
                 (unsigned long long)request->asked.value, refusal->text);
}

/* A lock that was granted while earlier transfers ended has precedence: the old bound holds again
 * then. */
static void resize_do(struct request *request)
{
    struct session *session = request->session;
    struct device *device = session->device;
    struct gate_refusal refusal = {.text = ""};
    pthread_mutex_lock(&device->mutex);
    int error = resize_check(request, request->work.io.size_bytes, &refusal);
    if (error == 0)
        gate_enter(device, session, &request->work.ticket);
    else
        device->size_bytes = request->work.io.size_bytes;
    pthread_mutex_unlock(&device->mutex);
    if (error < 0)
        resize_refuse(request, error, &refusal);
    else
        backend_submit(device->backend, &request->work.io);
}

/* What began before the shrinking has ended. */
static void on_resize_drained(struct drain *drain)
{
    resize_do(CONTAINER_OF(drain, struct request, work.drain));
}

static void on_resize_start(struct task *task)
{
    struct request *request = CONTAINER_OF(task, struct request, work.task);
    struct device *device = request->session->device;
    struct gate_refusal refusal = {.text = ""};
    bool wait = false;

    pthread_mutex_lock(&device->mutex);
    uint64_t size_bytes = device->size_bytes;
    int error = resize_check(request, size_bytes, &refusal);
    if (error == 0 && request->asked.value < size_bytes) {
        device->size_bytes = request->asked.value;
        request->work.drain =
            (struct drain){.loop = &request->conn->worker->io.base, .on_done = on_resize_drained};
        wait = drain_gate_wait(&device->transfers, &request->work.drain);
    }
    pthread_mutex_unlock(&device->mutex);

    request->work.io = (struct io){.op = IO_RESIZE,
                                   .value = request->asked.value,
                                   .size_bytes = size_bytes,
                                   .loop = &request->conn->worker->io,
                                   .user_share = &request->conn->user->helper_share,
                                   .on_done = on_resized};
    if (error < 0)
        resize_refuse(request, error, &refusal);
    else if (!wait)
        resize_do(request);
}

void resize_run(struct request *request)
{
    struct session *session = request->session;
    uint64_t end = 0;
    if (session->device->kind == DEVICE_BLOCK) {
        request_fail(request, -EOPNOTSUPP,
                     "resize of %s: a block device cannot be resized through blkd", session->path);
        return;
    }
    if (!range_is_aligned(request->asked.value, session->sector_size) ||
        !range_end(request->asked.value, 0, &end)) {
        request_fail(request, -EINVAL,
                     "resize of %s to %llu bytes: not a multiple of the sector size, %u bytes",
                     session->path, (unsigned long long)request->asked.value, session->sector_size);
        return;
    }
    request->work.task =
        (struct task){.loop = &request->conn->worker->io.base, .start = on_resize_start};
    task_submit(session->device, &request->work.task);
}
