/* SPDX-License-Identifier: MIT */
/* Requests about a session as a whole: open and close, what it is, its size, its map. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/range.h"
#include "common/status.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/opening.h"
#include "daemon/verbs/verbs.h"

int open_prepare(struct request *request, const Blkd__Request *message)
{
    return opening_new(request, message->open, &request->opening);
}

void open_run(struct request *request)
{
    opening_start(request->opening);
}

int close_prepare(struct request *request, const Blkd__Request *message)
{
    request->session_number = message->close->session;
    return 0;
}

/* The session outlives its last other request; the close itself is not one of them. */
void close_run(struct request *request)
{
    struct session *session = TAKE_PTR(request->session);
    session_close(session, request);
    session_drop(session);
}

int get_info_prepare(struct request *request, const Blkd__Request *message)
{
    request->session_number = message->get_info->session;
    return 0;
}

/* Of the newest exclusive lock that the session holds. With the device's mutex held. */
static uint64_t session_token(const struct session *session)
{
    uint64_t token = 0;
    const struct session_lock *held = NULL;
    TAILQ_FOREACH (held, &session->locks, link) {
        if (held->lock.held == LOCK_EXCLUSIVE && held->token > token)
            token = held->token;
    }
    return token;
}

static void session_fill_state(struct session *session, Blkd__Info *info)
{
    struct device *device = session->device;
    info->size_sectors = device->size_bytes / session->sector_size;
    info->generation = device->generation;
    info->failed = device->sync.failed != 0;
    info->elision_own_writes_only = lock_table_held(&device->locks) != LOCK_EXCLUSIVE;
    info->unsynced_changes = sync_part_unsynced(&device->sync, &session->unsynced, NULL);
    info->token = session_token(session);
    info->lock_lost = session->lock.stale;
}

void session_fill_info(struct session *session, Blkd__Info *ret_info)
{
    struct device *device = session->device;
    ret_info->lock = (Blkd__LockMode)session_lock_strongest(session);
    ret_info->asked_lock = session->asked.lock;
    pthread_mutex_lock(&device->mutex);
    session_fill_state(session, ret_info);
    pthread_mutex_unlock(&device->mutex);
    ret_info->read_write = session->read_write;
    ret_info->sector_size = session->sector_size;
    ret_info->kind = (Blkd__DeviceKind)device->kind;
    ret_info->direct = device->direct;
    ret_info->asked_direct = session->asked.direct;
    ret_info->asked_sync = (Blkd__Sync)session->asked.sync;
    ret_info->sync = (Blkd__Sync)session->asked.sync;
    ret_info->volatile_storage = device->volatile_storage;
    ret_info->discard = (Blkd__DiscardMethod)backend_discard_method(device->backend);
    ret_info->asked_discard = session->asked.discard;
    ret_info->granule_bytes = device->granule_bytes;
    ret_info->device = device->number;
    ret_info->asked_access = (Blkd__Access)session->asked.access;
}

void get_info_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__Info info = BLKD__INFO__INIT;
    session_fill_info(request->session, &info);
    reply.body_case = BLKD__REPLY__BODY_INFO;
    reply.info = &info;
    request_reply(request, &reply);
}

int get_config_prepare(struct request *request, const Blkd__Request *message)
{
    request->session_number = message->get_config->session;
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

/* ---- seek ---- */

int seek_prepare(struct request *request, const Blkd__Request *message)
{
    request->session_number = message->seek->session;
    request->offset_bytes = message->seek->offset_bytes;
    if ((unsigned int)message->seek->target > BLKD__SEEK_TARGET__SEEK_TARGET_UNMAPPED)
        return -EINVAL;
    request->value = (uint64_t)message->seek->target;
    return 0;
}

static void on_seek_done(struct io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, io);
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__SeekReply body = BLKD__SEEK_REPLY__INIT;
    if (result < 0) {
        request_fail(request, result, "seek from offset %llu of %s: lseek failed: %s",
                     (unsigned long long)io->offset_bytes, request->session->path,
                     strerror(-result));
        return;
    }
    body.offset_bytes = io->value;
    reply.body_case = BLKD__REPLY__BODY_SEEK;
    reply.seek = &body;
    request_reply(request, &reply);
}

/* A seek from past the end waits, once, until it has been looked at whether the device has grown.
 */
struct seek_look {
    struct request *request;
    struct look_wait wait;
};

static void on_seek_looked(struct look_wait *wait)
{
    seek_run(CONTAINER_OF(wait, struct seek_look, wait)->request);
}

/* False: it has been looked at already, or there is no memory to wait in. */
static bool seek_look(struct request *request)
{
    struct conn *conn = request->conn;
    struct seek_look *look = request->extra == NULL ? calloc(1, sizeof(*look)) : NULL;
    if (look == NULL)
        return false;
    request->extra = look;
    conn_charge(conn, request, sizeof(*look));
    look->request = request;
    look->wait = (struct look_wait){
        .worker = conn->worker, .user_share = &conn->user->helper_share, .on_done = on_seek_looked};
    device_look(request->session->device, &look->wait);
    return true;
}

void seek_run(struct request *request)
{
    struct session *session = request->session;
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    uint64_t size_bytes = device->size_bytes;
    pthread_mutex_unlock(&device->mutex);
    size_bytes = range_round_down(size_bytes, session->sector_size);

    if (request->offset_bytes > size_bytes && seek_look(request))
        return;
    if (request->offset_bytes > size_bytes ||
        !range_is_aligned(request->offset_bytes, session->sector_size)) {
        request_fail(request, -EINVAL,
                     "seek from offset %llu of %s: past the end at %llu bytes, or not a whole "
                     "number of sectors of %u bytes",
                     (unsigned long long)request->offset_bytes, session->path,
                     (unsigned long long)size_bytes, session->sector_size);
        return;
    }
    request->io = (struct io){
        .op = IO_SEEK,
        .offset_bytes = request->offset_bytes,
        .size_bytes = size_bytes,
        .sector_size = session->sector_size,
        .unmapped = request->value == BLKD__SEEK_TARGET__SEEK_TARGET_UNMAPPED,
        .worker = request->conn->worker,
        .user_share = &request->conn->user->helper_share,
        .on_done = on_seek_done,
    };
    backend_submit(device->backend, &request->io);
}
