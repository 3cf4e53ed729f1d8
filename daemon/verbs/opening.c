/* SPDX-License-Identifier: MIT */
#include "daemon/verbs/opening.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/text.h"
#include "daemon/base/log.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/link/worker.h"

static void opening_look(struct opening *opening);
static void on_opening_retry(struct claim *claim);

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
    opening->claim =
        (struct claim){.loop = &opening->worker->io.base, .on_retry = on_opening_retry};
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

void opening_free_extra(void *opening)
{
    (void)opening_free(opening);
}

const char *opening_name(const struct opening *opening)
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
    conn->sessions.openings--;
    conn_touch(conn);
}

void opening_fail(struct opening *opening, int error, const char *reason)
{
    struct request *request = opening->request;
    opening_log_refused(opening, error, reason);
    opening_end(opening);
    request_fail(request, error, "%s of %s: %s", request->operation->name, opening_name(opening),
                 reason);
}

void opening_dispose_backend(struct opening *opening)
{
    disposal_backend(opening->worker, opening->request->conn->user, TAKE_PTR(opening->backend));
}

/* ---- the device ---- */

/* The device has a session more, or what else it was claimed for. */
static void opening_claimed(struct opening *opening)
{
    if (opening->fd >= 0)
        disposal_descriptor(opening->worker, opening->request->conn->user, TAKE_FD(opening->fd));
    opening->on_claimed(opening);
}

static void opening_claim(struct opening *opening)
{
    struct conn *conn = opening->request->conn;
    struct registry *registry = &opening->worker->server->registry;
    if (conn->state > CONN_SERVING) {
        opening_dispose_backend(opening);
        opening_fail(opening, -ESHUTDOWN, "the connection is being closed");
        return;
    }
    switch (registry_claim(registry, &opening->claim, opening_name(opening), opening->backend,
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
        opening_fail(opening, -ENOMEM, "out of memory");
        break;
    case REGISTRY_CROWDED:
        opening_dispose_backend(opening);
        opening_fail(opening, -EDQUOT, "it shares bytes with too many open devices");
        break;
    }
}

static void on_opening_retry(struct claim *claim)
{
    opening_claim(CONTAINER_OF(claim, struct opening, claim));
}

/* ---- the helper's part ---- */

static int opening_check_descriptor(struct opening *opening, const struct peer *peer,
                                    struct backend_open *open)
{
    char reason[ACCESS_MESSAGE_MAX];
    bool writable = false;
    int error = access_check_descriptor(opening->fd, peer, &writable, reason);
    if (error == 0 && open->read_write_asked && !writable) {
        error = -EACCES;
        (void)snprintf(reason, sizeof(reason),
                       "read/write access was requested, but the passed descriptor is open "
                       "read-only or for appending");
    }
    if (error < 0)
        (void)snprintf(opening->message, sizeof(opening->message), "%s", reason);
    if (!writable)
        open->read_only_asked = true;
    return error;
}

/* Whether what is asked for may be opened, and how. */
static int opening_check_source(struct opening *opening, struct backend_open *open)
{
    const struct peer *peer = &opening->request->conn->peer;
    char reason[ACCESS_MESSAGE_MAX];
    if (opening->fd >= 0)
        return opening_check_descriptor(opening, peer, open);
    int error = access_check_view(peer, reason);
    opening->request->refusal = error < 0 ? REFUSAL_NO_RULE : REFUSAL_NONE;
    if (error < 0)
        (void)snprintf(opening->message, sizeof(opening->message), "%s", reason);
    return error;
}

/* Where the path leads, for looking only. A client's own must not make the daemon wait, nor mount
 * anything: it is looked up in what the kernel has at hand, where the client has just come by. */
static int opening_follow(const char *path, bool trusted)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd >= 0 || !trusted || (errno != EAGAIN && errno != EINVAL))
        return fd;
    how.resolve = RESOLVE_NO_MAGICLINKS;
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* Whether the path leads the daemon to what was opened. */
static bool opening_verify(const struct opening *opening)
{
    const struct device_identity *identity = &opening->info.identity;
    struct statx status;
    if (*opening->path != '/')
        return false;
    CLEANUP_CLOSE int fd =
        opening_follow(opening->path, access_is_trusted(&opening->request->conn->peer));
    if (fd < 0 || syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                          STATX_TYPE | STATX_INO, &status) < 0)
        return false;
    if (identity->kind == DEVICE_BLOCK)
        return S_ISBLK(status.stx_mode) &&
               makedev(status.stx_rdev_major, status.stx_rdev_minor) == identity->dev;
    return S_ISREG(status.stx_mode) && status.stx_ino == identity->inode &&
           makedev(status.stx_dev_major, status.stx_dev_minor) == identity->dev;
}

static void on_opening_run(struct helper_job *job)
{
    struct opening *opening = CONTAINER_OF(job, struct opening, job);
    struct backend_open open = {
        .path = opening->path,
        .fd = opening->fd,
        .direct = opening->config.direct,
        .read_only_asked = opening->config.access == SESSION_ACCESS_READ_ONLY,
        .read_write_asked = opening->config.access == SESSION_ACCESS_READ_WRITE,
        .ret_refusal = &opening->request->refusal,
    };
    int error = opening_check_source(opening, &open);
    if (error == 0)
        error = backend_posix_open(&open, &opening->backend, &opening->info, opening->message);
    if (error == 0)
        opening->request->refusal = REFUSAL_NONE; /* it was opened read-only then */
    opening->verified = error == 0 && opening_verify(opening);
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
    opening->claim.resized = registry_resized(&opening->worker->server->registry);
    opening->job = (struct helper_job){.run = on_opening_run, .on_done = on_opening_opened};
    opening->job.shares[0] = &conn->helper_share;
    opening->job.shares[1] = &conn->user->helper_share;
    loop_submit(&opening->worker->io.base, &opening->job);
}

/* ---- the beginning ---- */

static int opening_check_quota(struct opening *opening, const char **ret_reason)
{
    struct conn *conn = opening->request->conn;
    struct server *server = opening->worker->server;
    if (conn->sessions.count + conn->sessions.openings >= server->limits.sessions_per_connection) {
        *ret_reason =
            "this connection's limit on sessions is reached (sessions-per-connection in blkd.conf)";
        return -EDQUOT;
    }
    *ret_reason = "this user's limit on sessions is reached (sessions-per-uid in blkd.conf)";
    return user_add_session(&server->users, conn->user, server->limits.sessions_per_uid);
}

/* Counts it, unless there is an error already. False: it is refused, and that is its end. */
static bool opening_begin(struct opening *opening, int error, const char *reason)
{
    struct conn *conn = opening->request->conn;
    if (error == 0)
        error = opening_check_quota(opening, &reason);
    if (error == 0) {
        conn->sessions.openings++;
        return true;
    }
    if (opening->fd >= 0)
        disposal_descriptor(opening->worker, conn->user, TAKE_FD(opening->fd));
    opening_log_refused(opening, error, reason);
    request_fail(opening->request, error, "%s: %s", opening->request->operation->name, reason);
    return false;
}

void opening_start(struct opening *opening)
{
    const char *reason = NULL;
    if (opening->descriptor)
        opening->fd = conn_take_descriptor(opening->request->conn);
    int error = opening_check(opening, &reason);
    if (opening_begin(opening, error, reason))
        opening_look(opening);
}

void opening_start_number(struct opening *opening, uint64_t number)
{
    if (!opening_begin(opening, 0, NULL))
        return;
    int error = registry_claim_number(&opening->worker->server->registry, number, &opening->device);
    if (error < 0)
        opening_fail(opening, error,
                     error == -EAGAIN ? "it is being closed: try again"
                                      : "there is no such device");
    else
        opening_claimed(opening);
}
