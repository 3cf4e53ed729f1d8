/* SPDX-License-Identifier: MIT */
#include "daemon/device/registry.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/container.h"
#include "daemon/device/session.h"
#include "daemon/link/worker.h"
#include "daemon/verbs/opening.h"

void registry_init(struct registry *registry)
{
    *registry = (struct registry){0};
    (void)pthread_mutex_init(&registry->mutex, NULL);
    TAILQ_INIT(&registry->devices);
    TAILQ_INIT(&registry->sessions);
    lock_domain_init(&registry->locks);
}

/* A device that failed while it was closed stays until here, so that it cannot be opened as a sound
 * one. */
void registry_deinit(struct registry *registry)
{
    HASH_CLEAR(hh, registry->by_identity);
    while (!TAILQ_EMPTY(&registry->devices)) {
        struct device *device = TAILQ_FIRST(&registry->devices);
        TAILQ_REMOVE(&registry->devices, device, link);
        device_unrelate(device);
        backend_close(device->backend);
        (void)device_free(device);
    }
    lock_domain_deinit(&registry->locks);
    (void)pthread_mutex_destroy(&registry->mutex);
}

bool registry_has_failed(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    bool failed = !TAILQ_EMPTY(&registry->devices);
    pthread_mutex_unlock(&registry->mutex);
    return failed;
}

static bool registry_names(const struct device *device, const struct device *other)
{
    for (size_t i = 0; i < device->related_identity_count; i++) {
        if (memcmp(&device->related_identities[i], &other->identity, sizeof(other->identity)) == 0)
            return true;
    }
    return false;
}

/* It and the open devices that share bytes with it conflict for locks from now on. Either may know
 * of the other: a disk's list has room for so many partitions only. */
static int registry_relate(struct registry *registry, struct device *device)
{
    struct device *other = NULL;
    int error = 0;
    TAILQ_FOREACH (other, &registry->devices, link) {
        if (other->state == DEVICE_CLOSED ||
            (!registry_names(device, other) && !registry_names(other, device)))
            continue;
        error = device_relate(device, other);
        if (error < 0)
            break;
    }
    return error;
}

static enum registry_verdict registry_claim_new(struct registry *registry, struct opening *opening,
                                                const char *path, struct backend *backend,
                                                const struct backend_info *info,
                                                struct device **ret_device)
{
    struct device *device =
        device_new(opening->worker->server, registry->last_device + 1, path, backend, info);
    if (device == NULL)
        return REGISTRY_NO_MEMORY;
    if (registry_relate(registry, device) < 0) {
        device_unrelate(device);
        (void)device_free(device);
        return REGISTRY_CROWDED;
    }
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
        verdict = registry_claim_new(registry, opening, path, backend, info, ret_device);
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
    struct session_ending *ending = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_REMOVE(&registry->sessions, session, registry_link);
    while ((ending = TAILQ_FIRST(&session->endings)) != NULL) {
        TAILQ_REMOVE(&session->endings, ending, link);
        mailbox_post(&ending->worker->mailbox, &ending->letter);
    }
    pthread_mutex_unlock(&registry->mutex);
}

bool registry_evict(struct registry *registry, uint64_t number, struct session_ending *ending)
{
    struct session *session = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (session, &registry->sessions, registry_link) {
        if (session->number == number)
            break;
    }
    if (session != NULL) {
        TAILQ_INSERT_TAIL(&session->endings, ending, link);
        pthread_mutex_lock(&session->device->mutex);
        session_tell(session, SESSION_EVENT_EVICTED);
        pthread_mutex_unlock(&session->device->mutex);
    }
    pthread_mutex_unlock(&registry->mutex);
    return session != NULL;
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

/* With the registry's mutex held. */
static void registry_wake_openers(struct device *device)
{
    struct opening *opening = NULL;
    while ((opening = STAILQ_FIRST(&device->reopeners)) != NULL) {
        STAILQ_REMOVE_HEAD(&device->reopeners, reopen_link);
        opening_retry(opening);
    }
}

void registry_forget(struct registry *registry, struct device *device, struct worker *worker)
{
    registry_log_closed(device);
    pthread_mutex_lock(&registry->mutex);
    watch_publish(&worker->server->watch, WATCH_DEVICE_CLOSED, device, NULL, NULL);
    HASH_DEL(registry->by_identity, device);
    TAILQ_REMOVE(&registry->devices, device, link);
    if (device->resized)
        registry->resized++;
    registry_wake_openers(device);
    pthread_mutex_unlock(&registry->mutex);
    (void)user_unref(&worker->server->users, device->close_user);
    (void)device_free(device);
    worker->pending--;
}

static void on_device_closed(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, close_job);
    registry_forget(&device->closer->server->registry, device, device->closer);
}

/* Not closed but kept, failed, with its descriptors: whoever opens it next must be told. */
static void registry_keep_failed(struct registry *registry, struct device *device)
{
    struct worker *closer = device->closer; /* the device may be claimed and closed again at once */
    struct user *user = device->close_user;
    pthread_mutex_lock(&registry->mutex);
    device->state = DEVICE_OPEN;
    registry_wake_openers(device);
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
    device_unrelate(device);
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

/* Nobody has the device any more, and nothing holds it. On its closer. */
static void registry_begin_close(struct device *device)
{
    pthread_mutex_lock(&device->mutex);
    bool sync_first = device->close_sync;
    int failed = device->sync.failed;
    pthread_mutex_unlock(&device->mutex);
    device->close_flush = (struct device_flush){.worker = device->closer,
                                                .user_share = &device->close_user->helper_share,
                                                .on_done = on_close_flushed};
    int result = failed;
    if (failed == 0 && sync_first)
        result = device_flush(device, &device->close_flush);
    if (result <= 0)
        registry_close(device, result);
}

static void on_close_letter(struct letter *letter)
{
    registry_begin_close(CONTAINER_OF(letter, struct device, close_letter));
}

void registry_release(struct registry *registry, struct device *device, struct worker *worker,
                      struct user *user)
{
    bool begin = false;
    pthread_mutex_lock(&registry->mutex);
    assert(device->session_count > 0);
    if (--device->session_count == 0) {
        device->state = DEVICE_CLOSING;
        device->closer = worker;
        device->close_user = user_ref(&worker->server->users, user->uid);
        worker->pending++;
        begin = atomic_load(&device->holds) == 0;
        device->close_waits = !begin;
    }
    pthread_mutex_unlock(&registry->mutex);
    if (begin)
        registry_begin_close(device);
}

void registry_hold(struct device *device)
{
    atomic_fetch_add(&device->holds, 1);
}

void registry_unhold(struct registry *registry, struct device *device)
{
    pthread_mutex_lock(&registry->mutex);
    bool last = atomic_fetch_sub(&device->holds, 1) == 1;
    if (last && device->close_waits) {
        device->close_waits = false;
        device->close_letter.deliver = on_close_letter;
        mailbox_post(&device->closer->mailbox, &device->close_letter);
    }
    pthread_mutex_unlock(&registry->mutex);
}

struct device *registry_find(struct registry *registry, uint64_t number)
{
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (device, &registry->devices, link) {
        if (device->number == number)
            break;
    }
    if (device != NULL && (device->state != DEVICE_OPEN || device->session_count == 0))
        device = NULL;
    if (device != NULL)
        registry_hold(device);
    pthread_mutex_unlock(&registry->mutex);
    return device;
}

/* With the registry's mutex held. */
static bool registry_is_sound(struct device *device)
{
    if (device->state != DEVICE_OPEN || device->session_count == 0)
        return false;
    pthread_mutex_lock(&device->mutex);
    bool sound = device->sync.failed == 0;
    pthread_mutex_unlock(&device->mutex);
    return sound;
}

size_t registry_hold_sound(struct registry *registry, uint64_t after, struct device **ret_devices,
                           size_t max)
{
    size_t count = 0;
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (device, &registry->devices, link) {
        if (count == max)
            break;
        if (device->number <= after || !registry_is_sound(device))
            continue;
        registry_hold(device);
        ret_devices[count++] = device;
    }
    pthread_mutex_unlock(&registry->mutex);
    return count;
}

struct device *registry_look_up(struct registry *registry, const struct device_identity *identity)
{
    struct device *device = NULL;
    HASH_FIND(hh, registry->by_identity, identity, sizeof(*identity), device);
    return device == NULL || device->state == DEVICE_CLOSED ? NULL : device;
}

char *registry_path(struct registry *registry, uint64_t number)
{
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (device, &registry->devices, link) {
        if (device->number == number && device->state != DEVICE_CLOSED)
            break;
    }
    char *path = device == NULL ? NULL : strdup(device->path);
    pthread_mutex_unlock(&registry->mutex);
    return path;
}

int registry_take_alone(struct registry *registry, struct device *device)
{
    int error = 0;
    pthread_mutex_lock(&registry->mutex);
    if (device->session_count > 1)
        error = -EBUSY;
    else if (atomic_load(&device->holds) > 0)
        error = -EAGAIN;
    else
        device->state = DEVICE_CLOSING;
    pthread_mutex_unlock(&registry->mutex);
    return error;
}

void registry_alone_closes(struct registry *registry, struct device *device, struct worker *worker,
                           struct user *user)
{
    pthread_mutex_lock(&registry->mutex);
    assert(device->session_count == 1);
    device->session_count = 0;
    device->state = DEVICE_CLOSED;
    device->closer = worker;
    device->close_user = user_ref(&worker->server->users, user->uid);
    worker->pending++;
    pthread_mutex_unlock(&registry->mutex);
}

void registry_give_back(struct registry *registry, struct device *device, struct worker *worker,
                        struct user *user)
{
    pthread_mutex_lock(&registry->mutex);
    device->state = DEVICE_OPEN;
    registry_wake_openers(device);
    pthread_mutex_unlock(&registry->mutex);
    registry_release(registry, device, worker, user);
}
