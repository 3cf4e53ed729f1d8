/* SPDX-License-Identifier: MIT */
#include "daemon/verbs/opening.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/range.h"
#include "common/status.h"
#include "common/text.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/link/worker.h"

static void opening_look(struct opening *opening);

int opening_new(struct request *request, const Blkd__Open *message, struct opening **ret_opening)
{
    const Blkd__Config *config = message->config;
    if (config == NULL)
        return -EINVAL;
    struct opening *opening = calloc(1, sizeof(*opening));
    if (opening == NULL)
        return -ENOMEM;
    opening->request = request;
    opening->worker = request->conn->worker;
    opening->fd = -1;
    opening->descriptor = message->descriptor != 0;
    opening->config = (struct session_config){
        .direct = config->direct != 0,
        .sync = (enum session_sync)config->sync,
        .lock = config->lock != 0,
        .sector_size = config->sector_size,
        .access = (enum session_access)config->access,
        .strict = config->strict != 0,
        .discard = config->discard != 0,
    };
    (void)snprintf(opening->purpose, sizeof(opening->purpose), "%s", config->purpose);
    text_make_utf8(opening->purpose);
    opening->path_bytes = config->path.len;
    opening->path = malloc(config->path.len + 1);
    if (opening->path == NULL) {
        free(opening);
        return -ENOMEM;
    }
    if (config->path.len > 0)
        (void)memcpy(opening->path, config->path.data, config->path.len);
    opening->path[config->path.len] = '\0';
    conn_charge(request->conn, request, sizeof(*opening) + opening->path_bytes);
    *ret_opening = opening;
    return 0;
}

struct opening *opening_free(struct opening *opening)
{
    if (opening == NULL)
        return NULL;
    free(opening->path);
    free(opening);
    return NULL;
}

/* What the opening is called in messages and lists. */
static const char *opening_name(const struct opening *opening)
{
    return *opening->path != '\0' ? opening->path : "(passed descriptor)";
}

/* A path from somebody who may not name paths is libblkd's everyday first try: the passed
 * descriptor follows. */
static void opening_log_refused(const struct opening *opening, int error, const char *reason)
{
    const struct conn *conn = opening->request->conn;
    bool everyday = error == -EACCES && !opening->descriptor && !access_is_trusted(&conn->peer);
    struct log_line line;
    log_begin(&line, everyday ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE, "open-refused");
    log_text(&line, "path", opening_name(opening));
    log_number(&line, "connection", conn->number);
    peer_log(&conn->peer, &line);
    log_errno(&line, error);
    log_text(&line, "reason", reason);
    log_end(&line);
}

void opening_end(struct opening *opening)
{
    struct conn *conn = opening->request->conn;
    if (opening->fd >= 0)
        disposal_descriptor(opening->worker, conn->user, TAKE_FD(opening->fd));
    user_remove_session(&opening->worker->server->users, conn->user);
    conn->openings--;
    conn_touch(conn);
}

/* Ends the opening: what it still holds is given back, the request is answered. */
static void opening_fail(struct opening *opening, int error, const char *reason)
{
    struct request *request = opening->request;
    opening_log_refused(opening, error, reason);
    opening_end(opening);
    request_fail(request, error, "%s of %s: %s", request->operation->name, opening_name(opening),
                 reason);
}

static void opening_dispose_backend(struct opening *opening)
{
    disposal_backend(opening->worker, opening->request->conn->user, TAKE_PTR(opening->backend));
}

/* Fails after the device was claimed. */
static void opening_unclaim(struct opening *opening, int error, const char *reason)
{
    opening->session = session_free(opening->session);
    registry_release(&opening->worker->server->registry, opening->device, opening->worker,
                     opening->request->conn->user);
    opening->device = NULL;
    opening_fail(opening, error, reason);
}

/* ---- the session ---- */

static struct session *opening_make_session(const struct opening *opening)
{
    struct conn *conn = opening->request->conn;
    struct timespec now;
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->path = strdup(opening_name(opening));
    if (session->path == NULL) {
        free(session);
        return NULL;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    session->number = registry_next_session(&opening->worker->server->registry);
    session->conn = conn;
    session->worker = opening->worker;
    session->device = opening->device;
    session->asked = opening->config;
    session->peer = conn->peer;
    session->connection_number = conn->number;
    (void)memcpy(session->client_name, conn->client_name, sizeof(session->client_name));
    session->read_write =
        opening->info.read_write && opening->config.access != SESSION_ACCESS_READ_ONLY;
    session->opened_unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    session->event_letter.deliver = on_session_events;
    (void)memcpy(session->purpose, opening->purpose, sizeof(session->purpose));
    TAILQ_INIT(&session->endings);
    TAILQ_INIT(&session->locks);
    drain_gate_init(&session->transfers);
    session->lost_range = LOCK_NOTHING;
    lock_owner_init(&session->lock, &conn->party);
    return session;
}

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
    log_number(&line, "connection", session->connection_number);
    peer_log(&session->peer, &line);
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
    conn_add_session(conn, session);
    conn->openings--;
    opening_log(session);
    watch_publish(&opening->worker->server->watch, WATCH_SESSION_OPENED, session->device, session,
                  NULL);
    session_fill_info(session, &info);
    body.session = session->number;
    body.info = &info;
    reply.body_case = BLKD__REPLY__BODY_OPEN;
    reply.open = &body;
    session_hold(session);
    request_reply(request, &reply);
    if (conn->state > CONN_SERVING)
        session_close(session, NULL);
    session_drop(session);
    conn_touch(conn);
}

/* ---- the lock ---- */

static void opening_leave(struct opening *opening)
{
    struct device *device = opening->device;
    pthread_mutex_lock(&device->mutex);
    TAILQ_REMOVE(&device->sessions, opening->session, device_link);
    pthread_mutex_unlock(&device->mutex);
}

static void on_opening_locked(struct session_lock *held, int result)
{
    struct opening *opening = held->user_data;
    char reason[SESSION_LOCK_MESSAGE_MAX];
    if (result == 0) {
        opening_done(opening);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%s", held->message);
    opening_leave(opening);
    opening_unclaim(opening, result, reason);
}

/* As the block interface has it: exclusive for read/write, shared for read-only, without waiting
 * (CONTRACT L1). */
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
    opening_leave(opening);
    opening_unclaim(opening, error,
                    error == -EDQUOT ? "this user has as many locks as it may have"
                                     : "no memory for its lock");
}

static void opening_enter(struct opening *opening)
{
    struct device *device = opening->device;
    pthread_mutex_lock(&device->mutex);
    TAILQ_INSERT_TAIL(&device->sessions, opening->session, device_link);
    pthread_mutex_unlock(&device->mutex);
    if (opening->config.lock)
        opening_lock(opening);
    else
        opening_done(opening);
}

/* ---- the device ---- */

static int opening_check_sectors(struct opening *opening, uint64_t size_bytes, char reason[256])
{
    uint32_t granule = opening->device->granule_bytes;
    uint32_t asked = opening->config.sector_size;
    uint32_t sector = asked != 0 ? asked : granule;
    if (sector < granule) {
        (void)snprintf(
            reason, 256,
            "sectors of %u bytes were asked for, but it is reached in pieces of %u bytes "
            "(%s): ask for %u or leave the size out",
            asked, granule, opening->device->direct ? "direct I/O" : "its logical block size",
            granule);
        return -EINVAL;
    }
    if (!range_is_aligned(size_bytes, sector)) {
        (void)snprintf(reason, 256,
                       "its size, %llu bytes, is not a whole number of sectors of %u bytes: make "
                       "it so (truncate -s), or ask for a smaller sector size",
                       (unsigned long long)size_bytes, sector);
        return -EINVAL;
    }
    opening->session->sector_size = sector;
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
        (void)snprintf(reason, 256, "others have it open with %s I/O, which is refused here: %s",
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
        what = "direct I/O was asked for, but it is open buffered, or its file system cannot do it";
    else if (!config->direct && device->direct)
        what = "buffered I/O was asked for, but others have it open with direct I/O";
    else if (config->sync != SESSION_SYNC_NONE && device->volatile_storage)
        what = "a sync level was asked for, but it is in memory and does not survive a power cut";
    else if (config->discard && backend_discard_method(device->backend) != DISCARD_PUNCH_HOLE)
        what = "discards were to give space back, but here they only write zeroes";
    if (what == NULL)
        return 0;
    (void)snprintf(reason, 256, "%s; leave out strict=1 to open it all the same", what);
    return -EOPNOTSUPP;
}

/* The device has a session more; sees whether that one can be. */
static void opening_claimed(struct opening *opening)
{
    struct device *device = opening->device;
    char reason[256];

    if (opening->fd >= 0)
        disposal_descriptor(opening->worker, opening->request->conn->user, TAKE_FD(opening->fd));
    if (opening->on_claimed != NULL) {
        opening_dispose_backend(opening);
        opening->on_claimed(opening);
        return;
    }
    opening->session = opening_make_session(opening);
    if (opening->session == NULL) {
        opening_unclaim(opening, -ENOMEM, "no memory for a session");
        return;
    }
    pthread_mutex_lock(&device->mutex);
    int error = opening_adopt(opening, reason);
    uint64_t size_bytes = device->size_bytes;
    pthread_mutex_unlock(&device->mutex);

    if (error == 0)
        error = opening_check_sectors(opening, size_bytes, reason);
    if (error == 0)
        error = opening_check_strict(opening, reason);
    opening_dispose_backend(opening);
    if (error < 0)
        opening_unclaim(opening, error, reason);
    else
        opening_enter(opening);
}

static void opening_claim(struct opening *opening)
{
    struct conn *conn = opening->request->conn;
    struct registry *registry = &opening->worker->server->registry;
    if (conn->state > CONN_SERVING) {
        opening_dispose_backend(opening);
        opening_fail(opening, -ESHUTDOWN, "the connection is closing");
        return;
    }
    switch (registry_claim(registry, opening, opening_name(opening), opening->backend,
                           &opening->info, &opening->device)) {
    case REGISTRY_NEW:
        opening->backend = NULL;
        opening_claimed(opening);
        break;
    case REGISTRY_EXISTING:
        opening_claimed(opening);
        break;
    case REGISTRY_WAIT:
        break;
    case REGISTRY_STALE:
        opening_dispose_backend(opening);
        opening_look(opening);
        break;
    case REGISTRY_NO_MEMORY:
        opening_dispose_backend(opening);
        opening_fail(opening, -ENOMEM, "no memory for a device");
        break;
    case REGISTRY_CROWDED:
        opening_dispose_backend(opening);
        opening_fail(opening, -EDQUOT, "it shares bytes with too many devices that are open");
        break;
    }
}

static void on_opening_retry(struct letter *letter)
{
    opening_claim(CONTAINER_OF(letter, struct opening, letter));
}

void opening_retry(struct opening *opening)
{
    opening->letter.deliver = on_opening_retry;
    mailbox_post(&opening->worker->mailbox, &opening->letter);
}

/* ---- the helper's part ---- */

static int opening_check_descriptor(struct opening *opening, bool trusted,
                                    struct backend_open *open)
{
    char reason[ACCESS_MESSAGE_MAX];
    bool writable = false;
    int error = access_check_descriptor(opening->fd, trusted, &writable, reason);
    if (error == 0 && open->read_write_asked && !writable) {
        error = -EACCES;
        (void)snprintf(reason, sizeof(reason),
                       "the passed descriptor is open read-only or for appending, read/write was "
                       "asked for");
    }
    if (error < 0)
        (void)snprintf(opening->message, sizeof(opening->message), "%s", reason);
    if (!writable)
        open->read_only_asked = true;
    return error;
}

static void on_opening_run(struct helper_job *job)
{
    struct opening *opening = CONTAINER_OF(job, struct opening, job);
    bool trusted = access_is_trusted(&opening->request->conn->peer);
    struct backend_open open = {
        .path = opening->path,
        .fd = opening->fd,
        .direct = opening->config.direct,
        .read_only_asked = opening->config.access == SESSION_ACCESS_READ_ONLY,
        .read_write_asked = opening->config.access == SESSION_ACCESS_READ_WRITE,
    };
    int error = opening->fd >= 0 ? opening_check_descriptor(opening, trusted, &open) : 0;
    if (error == 0)
        error = backend_posix_open(&open, &opening->backend, &opening->info, opening->message);
    opening->result = error;
}

static void on_opening_opened(struct helper_job *job)
{
    struct opening *opening = CONTAINER_OF(job, struct opening, job);
    if (opening->result < 0)
        opening_fail(opening, opening->result, opening->message);
    else
        opening_claim(opening);
}

static void opening_look(struct opening *opening)
{
    struct conn *conn = opening->request->conn;
    opening->resized = registry_resized(&opening->worker->server->registry);
    opening->job = (struct helper_job){.run = on_opening_run, .on_done = on_opening_opened};
    opening->job.shares[0] = &conn->helper_share;
    opening->job.shares[1] = &conn->user->helper_share;
    worker_submit_job(opening->worker, &opening->job);
}

/* ---- the beginning ---- */

static int opening_check_quota(struct opening *opening, const char **ret_reason)
{
    struct conn *conn = opening->request->conn;
    struct server *server = opening->worker->server;
    if (conn->session_count + conn->openings >= server->config->sessions_per_connection) {
        *ret_reason = "this connection has as many sessions as it may have";
        return -EDQUOT;
    }
    *ret_reason = "this user has as many sessions as it may have";
    return user_add_session(&server->users, conn->user, server->config->sessions_per_uid);
}

void opening_start(struct opening *opening)
{
    struct conn *conn = opening->request->conn;
    const char *reason = NULL;
    if (opening->descriptor)
        opening->fd = conn_take_descriptor(conn);
    int error = opening_check(opening, &reason);
    if (error == 0)
        error = opening_check_quota(opening, &reason);
    if (error < 0) {
        if (opening->fd >= 0)
            disposal_descriptor(opening->worker, conn->user, TAKE_FD(opening->fd));
        opening_log_refused(opening, error, reason);
        request_fail(opening->request, error, "open: %s", reason);
        return;
    }
    conn->openings++;
    opening_look(opening);
}
