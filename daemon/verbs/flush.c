/* SPDX-License-Identifier: MIT */
/* Flush (contract S3, S4). */
#include <errno.h>

#include "common/container.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int flush_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->flush->session;
    return 0;
}

static void flush_count(struct session *session, int result)
{
    pthread_mutex_lock(&session->device->mutex);
    session->stats.flushes++;
    if (result < 0) {
        session->stats.errors++;
        session->failure_told = true;
    }
    pthread_mutex_unlock(&session->device->mutex);
}

static void on_flushed(struct flush *flush, int result)
{
    struct request *request = CONTAINER_OF(flush, struct request, work.flush);
    const char *doubt = request->session->device->sync.doubt;
    flush_count(request->session, result);
    request->refusal = result < 0 ? REFUSAL_FAILED : REFUSAL_NONE;
    if (result < 0)
        request_fail(
            request, -EIO,
            "flush of %s: a sync of the device failed; acknowledged writes may be lost%s%s",
            request->session->path, doubt != NULL ? "; " : "", doubt != NULL ? doubt : "");
    else
        request_finish(request, 0);
}

/* With sync none it does nothing (but does not hide that the device has failed, once that is
 * written down). */
static int flush_none(struct device *device, struct flush *flush)
{
    if (flush_await_mark(device, flush))
        return 1;
    pthread_mutex_lock(&device->mutex);
    int failed = device->sync.ledger.failed;
    pthread_mutex_unlock(&device->mutex);
    return failed;
}

void flush_run(struct request *request)
{
    struct session *session = request->session;
    int result = 0;
    request->work.flush.loop = &request->conn->worker->io;
    request->work.flush.user_share = &request->conn->user->helper_share;
    request->work.flush.on_done = on_flushed;
    if (session->asked.sync == SESSION_SYNC_NONE)
        result = flush_none(session->device, &request->work.flush);
    else
        result = flush_begin(session->device, &request->work.flush);
    if (result <= 0)
        on_flushed(&request->work.flush, result);
}
