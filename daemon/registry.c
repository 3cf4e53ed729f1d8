/* SPDX-License-Identifier: MIT */
#include "daemon/registry.h"

#include <assert.h>

#include "common/container.h"
#include "daemon/opening.h"
#include "daemon/session.h"
#include "daemon/worker.h"

void registry_init(struct registry *registry)
{
    *registry = (struct registry){0};
    (void)pthread_mutex_init(&registry->mutex, NULL);
    TAILQ_INIT(&registry->devices);
    TAILQ_INIT(&registry->sessions);
}

/* A device that failed while it was closed stays until here, so that it cannot be opened as a sound
 * one. */
void registry_deinit(struct registry *registry)
{
    HASH_CLEAR(hh, registry->by_identity);
    while (!TAILQ_EMPTY(&registry->devices)) {
        struct device *device = TAILQ_FIRST(&registry->devices);
        TAILQ_REMOVE(&registry->devices, device, link);
        backend_close(device->backend);
        (void)device_free(device);
    }
    (void)pthread_mutex_destroy(&registry->mutex);
}

bool registry_has_failed(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    bool failed = !TAILQ_EMPTY(&registry->devices);
    pthread_mutex_unlock(&registry->mutex);
    return failed;
}

static enum registry_verdict registry_claim_new(struct registry *registry, const char *path,
                                                struct backend *backend,
                                                const struct backend_info *info,
                                                struct device **ret_device)
{
    struct device *device = device_new(registry->last_device + 1, path, backend, info);
    if (device == NULL)
        return REGISTRY_NO_MEMORY;
    registry->last_device++;
    device->session_count = 1;
    HASH_ADD(hh, registry->by_identity, identity, sizeof(device->identity), device);
    TAILQ_INSERT_TAIL(&registry->devices, device, link);
    *ret_device = device;
    return REGISTRY_NEW;
}

enum registry_verdict registry_claim(struct registry *registry, struct opening *opening,
                                     const char *path, struct backend *backend,
                                     const struct backend_info *info, struct device **ret_device)
{
    enum registry_verdict verdict = REGISTRY_EXISTING;
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    HASH_FIND(hh, registry->by_identity, &info->identity, sizeof(info->identity), device);
    if (device == NULL && registry->resized != opening->resized) {
        verdict = REGISTRY_STALE;
    } else if (device == NULL) {
        verdict = registry_claim_new(registry, path, backend, info, ret_device);
    } else if (device->state != DEVICE_OPEN) {
        STAILQ_INSERT_TAIL(&device->reopeners, opening, reopen_link);
        verdict = REGISTRY_WAIT;
    } else {
        device->session_count++;
        *ret_device = device;
    }
    pthread_mutex_unlock(&registry->mutex);
    return verdict;
}

uint64_t registry_resized(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    uint64_t resized = registry->resized;
    pthread_mutex_unlock(&registry->mutex);
    return resized;
}

uint64_t registry_next_session(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    uint64_t number = ++registry->last_session;
    pthread_mutex_unlock(&registry->mutex);
    return number;
}

void registry_add_session(struct registry *registry, struct session *session)
{
    pthread_mutex_lock(&registry->mutex);
    struct session *before = TAILQ_LAST(&registry->sessions, session_list);
    while (before != NULL && before->number > session->number)
        before = TAILQ_PREV(before, session_list, registry_link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&registry->sessions, before, session, registry_link);
    else
        TAILQ_INSERT_HEAD(&registry->sessions, session, registry_link);
    pthread_mutex_unlock(&registry->mutex);
}

void registry_remove_session(struct registry *registry, struct session *session)
{
    pthread_mutex_lock(&registry->mutex);
    TAILQ_REMOVE(&registry->sessions, session, registry_link);
    pthread_mutex_unlock(&registry->mutex);
}

static void registry_log_closed(const struct device *device)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_INFO, "device-closed");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_end(&line);
}

static void on_device_close_run(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, close_job);
    backend_close(device->backend);
}

static void on_device_closed(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, close_job);
    struct worker *worker = device->closer;
    struct registry *registry = &worker->server->registry;
    struct opening *opening = NULL;

    registry_log_closed(device);
    pthread_mutex_lock(&registry->mutex);
    HASH_DEL(registry->by_identity, device);
    TAILQ_REMOVE(&registry->devices, device, link);
    if (device->generation > 1)
        registry->resized++;
    while ((opening = STAILQ_FIRST(&device->reopeners)) != NULL) {
        STAILQ_REMOVE_HEAD(&device->reopeners, reopen_link);
        opening_retry(opening);
    }
    pthread_mutex_unlock(&registry->mutex);
    (void)user_unref(&worker->server->users, device->close_user);
    (void)device_free(device);
    worker->pending--;
}

/* Not closed but kept, failed, with its descriptors: whoever opens it next must be told. */
static void registry_keep_failed(struct registry *registry, struct device *device)
{
    struct worker *closer = device->closer; /* the device may be claimed and closed again at once */
    struct user *user = device->close_user;
    struct opening *opening = NULL;
    pthread_mutex_lock(&registry->mutex);
    device->state = DEVICE_OPEN;
    while ((opening = STAILQ_FIRST(&device->reopeners)) != NULL) {
        STAILQ_REMOVE_HEAD(&device->reopeners, reopen_link);
        opening_retry(opening);
    }
    pthread_mutex_unlock(&registry->mutex);
    (void)user_unref(&closer->server->users, user);
    closer->pending--;
}

static void registry_close(struct device *device, int result)
{
    struct registry *registry = &device->closer->server->registry;
    if (result < 0) {
        registry_keep_failed(registry, device);
        return;
    }
    pthread_mutex_lock(&registry->mutex);
    device->state = DEVICE_CLOSED;
    pthread_mutex_unlock(&registry->mutex);
    device->close_job = (struct helper_job){
        .run = on_device_close_run,
        .on_done = on_device_closed,
        .shares = {&device->close_user->helper_share},
    };
    worker_submit_job(device->closer, &device->close_job);
}

static void on_close_flushed(struct device_flush *flush, int result)
{
    struct device *device = CONTAINER_OF(flush, struct device, close_flush);
    registry_close(device, result);
}

void registry_release(struct registry *registry, struct device *device, struct worker *worker,
                      struct user *user)
{
    pthread_mutex_lock(&registry->mutex);
    assert(device->session_count > 0);
    bool last = --device->session_count == 0;
    if (last)
        device->state = DEVICE_CLOSING;
    pthread_mutex_unlock(&registry->mutex);
    if (!last)
        return;

    worker->pending++;
    device->closer = worker;
    device->close_user = user_ref(&worker->server->users, user->uid);
    pthread_mutex_lock(&device->mutex);
    bool sync_first = device->close_sync;
    int failed = device->sync.failed;
    pthread_mutex_unlock(&device->mutex);
    device->close_flush = (struct device_flush){
        .worker = worker, .user_share = &user->helper_share, .on_done = on_close_flushed};
    int result = failed;
    if (failed == 0 && sync_first)
        result = device_flush(device, &device->close_flush);
    if (result <= 0)
        registry_close(device, result);
}
