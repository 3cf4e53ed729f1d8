/* SPDX-License-Identifier: MIT */
/*
 * Recover (contract S5): an administrator accepts what a failed sync has lost. The device is opened
 * and claimed as for a session; when nobody else has it, its cache is dropped, so that what is read
 * from now on is what the storage has, it is closed, its mark is taken away, and it is forgotten:
 * whoever opens it next begins anew, with a new generation.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "common/status.h"
#include "daemon/base/log.h"
#include "daemon/link/conn.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/verbs/opening.h"
#include "daemon/verbs/verbs.h"

struct recovering {
    struct opening *opening; /* NULL: there is no such device */
    struct io io;
    struct helper_job job;
    struct state_failure failure;
    uint64_t generation;
    int result;
    char message[STATE_MESSAGE_MAX];
};

_Static_assert((int)STATE_MESSAGE_MAX >= (int)BACKEND_MESSAGE_MAX, "either's reason fits");

/* Of a device by its number, what it was called when it was opened; it is not looked for by that.
 */
static char *recover_path(struct request *request, const Blkd__Recover *recover)
{
    struct registry *registry = &request->conn->worker->server->registry;
    if (recover->device == 0)
        return strndup((const char *)recover->path.data, recover->path.len);
    return registry_path(registry, recover->device);
}

static void recover_free_extra(void *extra)
{
    struct recovering *recovering = extra;
    recovering->opening = opening_free(recovering->opening);
    free(recovering);
}

int recover_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Recover *recover = message->recover;
    Blkd__Open open = BLKD__OPEN__INIT;
    Blkd__Config config = BLKD__CONFIG__INIT;
    struct recovering *recovering = calloc(1, sizeof(*recovering));
    if (recovering == NULL)
        return -ENOMEM;
    conn_charge(request->conn, request, sizeof(*recovering));
    request->extra = recovering;
    request->free_extra = recover_free_extra;
    request->asked.value = recover->device;
    bool named = recover->path.len > 0 || recover->descriptor != 0;
    if (named == (recover->device != 0))
        return -EINVAL;
    char *path = recover_path(request, recover);
    if (path == NULL)
        return recover->device != 0 ? 0 : -ENOMEM;
    config.path.data = (uint8_t *)path;
    config.path.len = strlen(path);
    open.config = &config;
    open.descriptor = recover->descriptor;
    int error = opening_new(request, &open, &recovering->opening);
    free(path);
    return error;
}

static void recover_fail(struct opening *opening, int error, const char *reason)
{
    struct request *request = opening->request;
    opening_end(opening);
    request_fail(request, error, "recover of %s: %s", opening_name(opening), reason);
}

static void recover_reply(struct recovering *recovering)
{
    struct request *request = recovering->opening->request;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__RecoverReply body = BLKD__RECOVER_REPLY__INIT;
    body.failed = (Blkd__Status)status_from_errno(recovering->failure.error);
    body.failed_unix_ms = recovering->failure.unix_ms;
    body.generation = recovering->generation;
    reply.body_case = BLKD__REPLY__BODY_RECOVER;
    reply.recover = &body;
    opening_end(recovering->opening);
    request_reply(request, &reply);
}

static void recover_log(const struct recovering *recovering)
{
    const struct opening *opening = recovering->opening;
    struct log_line line;
    log_begin(&line, LOG_LEVEL_NOTICE, "device-recovered");
    log_number(&line, "device", opening->device->number);
    log_text(&line, "path", opening_name(opening));
    peer_log(&opening->request->conn->peer, &line);
    log_end(&line);
}

/* On a helper thread. The mark goes last: until then a crash leaves the device failed. */
static void on_recover_run(struct helper_job *job)
{
    struct recovering *recovering = CONTAINER_OF(job, struct recovering, job);
    struct device *device = recovering->opening->device;
    backend_close(device->backend);
    recovering->result =
        state_clear_failure(device->commons->state, &device->key, recovering->message);
}

/* The backend is closed whatever came of the mark: the next open makes another, and finds the mark
 * if it is still there. */
static void on_recover_done(struct helper_job *job)
{
    struct recovering *recovering = CONTAINER_OF(job, struct recovering, job);
    struct opening *opening = recovering->opening;
    struct device *device = opening->device;
    struct worker *worker = opening->worker;
    const struct happening_detail detail = {.generation = recovering->generation};
    if (recovering->result == 0) {
        recover_log(recovering);
        flush_recovered(device);
        commons_tell(device->commons, HAPPENING_RECOVERED, device, NULL, &detail);
    }
    registry_forget(&worker->server->registry, device);
    opening->device = NULL;
    if (recovering->result < 0)
        recover_fail(opening, recovering->result, recovering->message);
    else
        recover_reply(recovering);
}

static void on_recover_dropped(struct io *io, int result)
{
    struct recovering *recovering = CONTAINER_OF(io, struct recovering, io);
    struct opening *opening = recovering->opening;
    struct worker *worker = opening->worker;
    if (result < 0) {
        registry_give_back(&worker->server->registry, opening->device, &worker->io,
                           opening->request->conn->user);
        recover_fail(opening, result,
                     recovering->message[0] != '\0'
                         ? recovering->message
                         : "cannot drop its cache, so reads might not return what is stored");
        return;
    }
    registry_alone_closes(&worker->server->registry, opening->device, &worker->io,
                          opening->request->conn->user);
    relations_end(opening->device);
    recovering->generation = device_next_generation(opening->device);
    recovering->job = (struct helper_job){.run = on_recover_run,
                                          .on_done = on_recover_done,
                                          .shares = {&opening->request->conn->user->helper_share}};
    loop_submit(&worker->io.base, &recovering->job);
}

static void recover_alone(struct recovering *recovering)
{
    struct opening *opening = recovering->opening;
    recovering->io = (struct io){.op = IO_DROP,
                                 .message = recovering->message,
                                 .loop = &opening->worker->io,
                                 .user_share = &opening->request->conn->user->helper_share,
                                 .on_done = on_recover_dropped};
    backend_submit(opening->device->backend, &recovering->io);
}

static void recover_refuse(struct opening *opening, int error, const char *reason)
{
    registry_release(&opening->worker->server->registry, opening->device, &opening->worker->io,
                     opening->request->conn->user);
    recover_fail(opening, error, reason);
}

static void recover_take(struct recovering *recovering)
{
    struct opening *opening = recovering->opening;
    int error = registry_take_alone(&opening->worker->server->registry, opening->device);
    if (error == -EBUSY)
        opening->request->refusal = REFUSAL_OPEN;
    if (error == -EBUSY)
        recover_refuse(opening, error,
                       "sessions have it open: close them, or evict them (blkd-cli session evict)");
    else if (error < 0)
        recover_refuse(opening, error, "its failure is still being recorded: try again");
    else
        recover_alone(recovering);
}

static void on_recover_claimed(struct opening *opening)
{
    struct recovering *recovering = opening->request->extra;
    struct device *device = opening->device;
    opening_dispose_backend(opening);
    pthread_mutex_lock(&device->mutex);
    recovering->failure = (struct state_failure){.error = device->sync.ledger.failed,
                                                 .unix_ms = device->sync.ledger.failed_ms};
    pthread_mutex_unlock(&device->mutex);
    if (recovering->failure.error == 0)
        recover_refuse(opening, -EALREADY, "it has not failed, there is nothing to recover");
    else
        recover_take(recovering);
}

/* For a client that may not, its descriptor goes too. */
static bool recover_may(struct request *request, struct opening *opening)
{
    struct conn *conn = request->conn;
    if (admin_may(request))
        return true;
    if (opening != NULL && opening->descriptor)
        disposal_descriptor(conn->worker, conn->user, conn_take_descriptor(conn));
    return false;
}

void recover_run(struct request *request)
{
    struct recovering *recovering = request->extra;
    struct opening *opening = recovering->opening;
    if (!recover_may(request, opening))
        return;
    if (opening == NULL) {
        request_fail(request, -ENODEV, "recover: no such device");
        return;
    }
    opening->on_claimed = on_recover_claimed;
    if (request->asked.value != 0)
        opening_start_number(opening, request->asked.value);
    else
        opening_start(opening);
}
