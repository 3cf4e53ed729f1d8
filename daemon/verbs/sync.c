/* SPDX-License-Identifier: MIT */
/* Flush (CONTRACT S3, S4). */
#include <errno.h>

#include "common/container.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int flush_prepare(struct request *request, const Blkd__Request *message)
{
    request->session_number = message->flush->session;
    return 0;
}

static void flush_count(struct session *session, int result)
{
    pthread_mutex_lock(&session->device->mutex);
    session->stats.flushes++;
    if (result < 0)
        session->stats.errors++;
    pthread_mutex_unlock(&session->device->mutex);
}

static void on_flushed(struct device_flush *flush, int result)
{
    struct request *request = CONTAINER_OF(flush, struct request, flush);
    flush_count(request->session, result);
    if (result < 0)
        request_fail(request, -EIO,
                     "flush of %s: a sync of the device failed; acknowledged writes may be lost",
                     request->session->path);
    else
        request_finish(request, 0);
}

/* With sync none it does nothing (but does not hide that the device has failed, once that is
 * written down). */
static int flush_none(struct device *device, struct device_flush *flush)
{
    if (device_await_mark(device, flush))
        return 1;
    pthread_mutex_lock(&device->mutex);
    int failed = device->sync.failed;
    pthread_mutex_unlock(&device->mutex);
    return failed;
}

void flush_run(struct request *request)
{
    struct session *session = request->session;
    int result = 0;
    request->flush.worker = request->conn->worker;
    request->flush.user_share = &request->conn->user->helper_share;
    request->flush.on_done = on_flushed;
    if (session->asked.sync == SESSION_SYNC_NONE)
        result = flush_none(session->device, &request->flush);
    else
        result = device_flush(session->device, &request->flush);
    if (result <= 0)
        on_flushed(&request->flush, result);
}
