/* SPDX-License-Identifier: MIT */
/* The second half of an open: from the claimed device to a session, with its lock if it asked for
 * one, and to the answer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/range.h"
#include "daemon/base/log.h"
#include "daemon/link/conn.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/link/sessions.h"
#include "daemon/verbs/info.h"
#include "daemon/verbs/opening.h"

/* Fails after the device was claimed. */
static void opening_unclaim(struct opening *opening, int error, const char *reason)
{
    opening->session = session_free(opening->session);
    registry_release(&opening->worker->server->registry, opening->device, &opening->worker->io,
                     opening->request->conn->user);
    opening->device = NULL;
    opening_fail(opening, error, reason);
}

/* ---- the answer ---- */

static void opening_log(struct session *session)
{
    struct log_line line;
    if (!log_enabled(LOG_LEVEL_INFO))
        return;
    log_begin(&line, LOG_LEVEL_INFO, "session-opened");
    log_number(&line, "session", session->number);
    log_number(&line, "device", session->device->number);
    log_text(&line, "path", session->path);
    log_text(&line, "mode", session->read_write ? "rw" : "ro");
    log_text(&line, "io", backend_policy(session->device->backend));
    log_text(&line, "caching", session->device->direct ? "direct" : "buffered");
    log_text(&line, "lock", lock_mode_name(session_lock_strongest(session)));
    if (*session->purpose != '\0')
        log_text(&line, "purpose", session->purpose);
    log_number(&line, "connection", session->client.connection);
    peer_log(&session->client.peer, &line);
    log_end(&line);
}

static void opening_done(struct opening *opening)
{
    struct session *session = TAKE_PTR(opening->session);
    struct request *request = opening->request;
    struct conn *conn = request->conn;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__OpenReply body = BLKD__OPEN_REPLY__INIT;
    Blkd__Info info = BLKD__INFO__INIT;

    registry_add_session(&opening->worker->server->registry, session);
    sessions_add(conn, session);
    conn->sessions.openings--;
    opening_log(session);
    commons_tell(session->device->commons, HAPPENING_SESSION_OPENED, session->device, session,
                 NULL);
    info_fill(session, &info);
    body.session = session->number;
    body.info = &info;
    reply.body_case = BLKD__REPLY__BODY_OPEN;
    reply.open = &body;
    session_hold(session);
    request_reply(request, &reply);
    if (conn->state > CONN_SERVING)
        session_close(session);
    session_drop(session);
    conn_touch(conn);
}

/* ---- the lock ---- */

static void on_opening_locked(struct session_lock *held, int result)
{
    struct opening *opening = held->user_data;
    char reason[SESSION_LOCK_MESSAGE_MAX];
    if (result == 0) {
        opening_done(opening);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%s", held->message);
    opening->request->refusal = held->refusal;
    session_leave(opening->session);
    opening_unclaim(opening, result, reason);
}

/* As the block interface has it: exclusive for read/write, shared for read-only, without waiting
 * (contract L1). */
static void opening_lock(struct opening *opening)
{
    struct session *session = opening->session;
    const struct session_lock_ask ask = {
        .mode = session->read_write ? LOCK_EXCLUSIVE : LOCK_SHARED,
        .range = LOCK_WHOLE,
        .on_done = on_opening_locked,
        .user_data = opening,
    };
    int error = session_lock_ask(session, &ask);
    if (error == 0)
        return;
    session_leave(opening->session);
    opening_unclaim(opening, error,
                    error == -EDQUOT ? "this user's limit on locks is reached (locks-per-uid in "
                                       "blkd.conf, or 1024 in one session)"
                                     : "out of memory");
}

static void opening_enter(struct opening *opening)
{
    session_enter(opening->session);
    if (opening->config.lock)
        opening_lock(opening);
    else
        opening_done(opening);
}

/* ---- what it is to have ---- */

/* Whether sessions of the device can have sectors of this size; else the reason why not. */
static const char *opening_why_no_sectors(const struct device *device, uint32_t asked,
                                          uint64_t size_bytes)
{
    if (asked == device->granule_bytes)
        return NULL;
    if (asked < device->granule_bytes)
        return device->direct ? "direct I/O needs larger ones" : "its logical blocks are larger";
    if (device->kind == DEVICE_BLOCK)
        return "a block device has its own";
    return range_is_aligned(size_bytes, asked) ? NULL : "its size is not a multiple";
}

/* A size that is asked for is a preference: where it cannot be, the device's own is taken, and
 * get_info tells. */
static int opening_choose_sectors(struct opening *opening, uint64_t size_bytes, char reason[256])
{
    const struct device *device = opening->device;
    uint32_t own = device->granule_bytes;
    uint32_t asked = opening->config.sector_size;
    const char *why = asked != 0 ? opening_why_no_sectors(device, asked, size_bytes) : NULL;
    if (why != NULL && opening->config.strict) {
        (void)snprintf(reason, 256,
                       "sectors of %u bytes were requested, but here they are of %u (%s); omit "
                       "strict=1 to open it anyway",
                       asked, own, why);
        return -EOPNOTSUPP;
    }
    if (!range_is_aligned(size_bytes, own)) {
        (void)snprintf(reason, 256,
                       "its size, %llu bytes, is not a multiple of the sector size, %u: change it "
                       "(truncate -s)%s",
                       (unsigned long long)size_bytes, own,
                       device->direct ? ", or use buffered I/O" : "");
        return -EINVAL;
    }
    opening->session->sector_size = asked != 0 && why == NULL ? asked : own;
    return 0;
}

/* A device that was opened read-only becomes read/write with its first such session. With the
 * device's mutex held. */
static int opening_adopt(struct opening *opening, char reason[256])
{
    struct device *device = opening->device;
    if (!opening->session->read_write || device->read_write || opening->backend == NULL)
        return 0;
    int error = backend_adopt(device->backend, opening->backend);
    if (error < 0)
        (void)snprintf(reason, 256,
                       "other sessions have it open with %s I/O, which is not possible here: %s",
                       device->direct ? "direct" : "buffered", strerror(-error));
    else
        device->read_write = true;
    return error;
}

/* With `strict`, less than what was asked for is a refusal. */
static int opening_check_strict(const struct opening *opening, char reason[256])
{
    const struct session_config *config = &opening->config;
    const struct device *device = opening->device;
    const char *what = NULL;
    if (!config->strict)
        return 0;
    if (config->direct && !device->direct)
        what = "direct I/O was requested, but it is open with buffered I/O, or its file system "
               "does not support direct I/O";
    else if (!config->direct && device->direct)
        what = "buffered I/O was requested, but other sessions have it open with direct I/O";
    else if (config->sync != SESSION_SYNC_NONE && device->volatile_storage)
        what = "a sync level was requested, but it is in memory and a power failure loses its data";
    else if (config->discard && backend_discard_method(device->backend) != DISCARD_PUNCH_HOLE)
        what = "discards that release space were requested, but here they only write zeroes";
    if (what == NULL)
        return 0;
    (void)snprintf(reason, 256, "%s; omit strict=1 to open it anyway", what);
    return -EOPNOTSUPP;
}

void opening_make_session(struct opening *opening)
{
    struct device *device = opening->device;
    struct session_client client;
    char reason[256];

    sessions_describe_client(opening->request->conn, &client);
    bool read_write =
        opening->info.read_write && opening->config.access != SESSION_ACCESS_READ_ONLY;
    uint64_t number = registry_next_session(&opening->worker->server->registry);
    opening->session = session_new(device, &client, number, opening_name(opening), opening->purpose,
                                   &opening->config, read_write);
    if (opening->session == NULL) {
        opening_unclaim(opening, -ENOMEM, "out of memory");
        return;
    }
    opening->session->path_verified = opening->verified;
    pthread_mutex_lock(&device->mutex);
    int error = opening_adopt(opening, reason);
    uint64_t size_bytes = device->size_bytes;
    pthread_mutex_unlock(&device->mutex);

    if (error == 0)
        error = opening_choose_sectors(opening, size_bytes, reason);
    if (error == 0)
        error = opening_check_strict(opening, reason);
    opening_dispose_backend(opening);
    if (error < 0)
        opening_unclaim(opening, error, reason);
    else
        opening_enter(opening);
}
