/* SPDX-License-Identifier: MIT */
#include "daemon/device/refresh.h"

#include "common/container.h"
#include "daemon/base/log.h"
#include "daemon/device/device.h"

static void refresh_log_failure(const struct device *device, int error)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "caches-not-refreshed");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_errno(&line, error);
    log_text(&line, "message",
             "reads may not return what other programs wrote through a device that shares bytes "
             "with it");
    log_end(&line);
}

static void on_refreshed(struct io *io, int result)
{
    struct refresh *refresh = CONTAINER_OF(io, struct refresh, io);
    struct device *device = refresh->device;
    if (result < 0)
        refresh_log_failure(device, result);
    pthread_mutex_lock(&device->mutex);
    if (refresh->doubts > device->relations.settled)
        device->relations.settled = refresh->doubts;
    pthread_mutex_unlock(&device->mutex);
    refresh->on_done(refresh);
}

/* A device that has failed keeps its cache: what it lost is told, and `recover` drops it. */
static void on_refresh_flushed(struct flush *flush, int result)
{
    struct refresh *refresh = CONTAINER_OF(flush, struct refresh, flush);
    if (result < 0) {
        refresh->on_done(refresh);
        return;
    }
    refresh->io = (struct io){.op = IO_REFRESH,
                              .loop = refresh->loop,
                              .user_share = refresh->user_share,
                              .on_done = on_refreshed};
    backend_submit(refresh->device->backend, &refresh->io);
}

bool refresh_begin(struct device *device, struct refresh *refresh)
{
    if (device->relations.identity_count == 0 && device->relations.count == 0)
        return false;
    relations_enter(device);
    refresh->doubts = relations_doubts(device);
    bool needed = refresh->doubts != device->relations.settled;
    relations_leave(device);
    if (!needed)
        return false;
    refresh->device = device;
    refresh->flush = (struct flush){
        .loop = refresh->loop, .user_share = refresh->user_share, .on_done = on_refresh_flushed};
    int result = flush_begin(device, &refresh->flush);
    if (result <= 0)
        on_refresh_flushed(&refresh->flush, result);
    return true;
}
