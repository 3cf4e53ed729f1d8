/* SPDX-License-Identifier: MIT */
/* GetInfo and GetConfig: what a session asked for, and what it has. */
#include "daemon/verbs/info.h"

#include <string.h>

#include "daemon/device/session.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int get_info_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->get_info->session;
    return 0;
}

/* Of the newest exclusive lock that the session holds. With the device's mutex held. */
static uint64_t info_token(const struct session *session)
{
    uint64_t token = 0;
    const struct session_lock *held = NULL;
    TAILQ_FOREACH (held, &session->locks, link) {
        if (held->lock.held == LOCK_EXCLUSIVE && held->token > token)
            token = held->token;
    }
    return token;
}

static void info_fill_state(struct session *session, Blkd__Info *info)
{
    struct device *device = session->device;
    info->size_sectors = device->size_bytes / session->sector_size;
    info->generation = device->generation;
    info->failed = device->sync.ledger.failed != 0;
    info->elision_own_writes_only = lock_table_held(&device->locks) != LOCK_EXCLUSIVE;
    info->unsynced_changes = sync_part_unsynced(&device->sync.ledger, &session->unsynced, NULL);
    info->token = info_token(session);
    info->lock_lost = session->lock.stale;
}

void info_fill(struct session *session, Blkd__Info *ret_info)
{
    struct device *device = session->device;
    ret_info->lock = (Blkd__LockMode)session_lock_strongest(session);
    ret_info->asked_lock = session->asked.lock;
    pthread_mutex_lock(&device->mutex);
    info_fill_state(session, ret_info);
    pthread_mutex_unlock(&device->mutex);
    ret_info->read_write = session->read_write;
    ret_info->sector_size = session->sector_size;
    ret_info->kind = (Blkd__DeviceKind)device->kind;
    ret_info->direct = device->direct;
    ret_info->asked_direct = session->asked.direct;
    ret_info->asked_sync = (Blkd__Sync)session->asked.sync;
    ret_info->sync = (Blkd__Sync)session->asked.sync;
    ret_info->volatile_storage = device->volatile_storage;
    ret_info->forgets_failure = device->key.text[0] == '\0';
    ret_info->discard = (Blkd__DiscardMethod)backend_discard_method(device->backend);
    ret_info->asked_discard = session->asked.discard;
    ret_info->granule_bytes = device->granule_bytes;
    ret_info->device = device->number;
    ret_info->asked_sector_size = session->asked.sector_size;
    ret_info->asked_access = (Blkd__Access)session->asked.access;
}

void get_info_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__Info info = BLKD__INFO__INIT;
    info_fill(request->session, &info);
    reply.body_case = BLKD__REPLY__BODY_INFO;
    reply.info = &info;
    request_reply(request, &reply);
}

int get_config_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->get_config->session;
    return 0;
}

void get_config_run(struct request *request)
{
    const struct session *session = request->session;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__Config config = BLKD__CONFIG__INIT;
    config.path.data = (uint8_t *)session->path;
    config.path.len = strlen(session->path);
    config.direct = session->device->direct;
    config.sync = (Blkd__Sync)session->asked.sync;
    config.lock = session->asked.lock;
    config.sector_size = session->asked.sector_size;
    config.access = (Blkd__Access)session->asked.access;
    config.strict = session->asked.strict;
    config.discard = session->asked.discard;
    config.purpose = request->session->purpose;
    reply.body_case = BLKD__REPLY__BODY_CONFIG;
    reply.config = &config;
    request_reply(request, &reply);
}
