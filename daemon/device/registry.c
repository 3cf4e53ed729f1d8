/* SPDX-License-Identifier: MIT */
#include "daemon/device/registry.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/container.h"
#include "daemon/base/log.h"
#include "daemon/device/hold.h"
#include "daemon/device/notify.h"
#include "daemon/device/session.h"

void registry_init(struct registry *registry, const struct commons *commons)
{
    *registry = (struct registry){.commons = *commons};
    (void)pthread_mutex_init(&registry->mutex, NULL);
    TAILQ_INIT(&registry->devices);
    TAILQ_INIT(&registry->sessions);
    (void)pthread_mutex_init(&registry->commons.locks.mutex, NULL);
    lock_space_init(&registry->commons.locks.space);
    tokens_init(&registry->commons.tokens, commons->state);
}

/* A device that failed while it was closed stays until here, so that it cannot be opened as a sound
 * one. */
void registry_deinit(struct registry *registry)
{
    HASH_CLEAR(hh, registry->by_identity);
    while (!TAILQ_EMPTY(&registry->devices)) {
        struct device *device = TAILQ_FIRST(&registry->devices);
        TAILQ_REMOVE(&registry->devices, device, registration.link);
        relations_end(device);
        backend_close(device->backend);
        (void)device_free(device);
    }
    (void)pthread_mutex_destroy(&registry->commons.locks.mutex);
    (void)pthread_mutex_destroy(&registry->mutex);
}

bool registry_has_failed(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    bool failed = !TAILQ_EMPTY(&registry->devices);
    pthread_mutex_unlock(&registry->mutex);
    return failed;
}

static struct registry *registry_of(struct device *device)
{
    return CONTAINER_OF(device->commons, struct registry, commons);
}

/* It and the open devices that share bytes with it conflict for locks from now on. Either may know
 * of the other: a disk's list has room for so many partitions only. */
static int registry_relate(struct registry *registry, struct device *device)
{
    struct device *other = NULL;
    int error = 0;
    TAILQ_FOREACH (other, &registry->devices, registration.link) {
        if (other->registration.state == DEVICE_CLOSED ||
            (!relations_name(device, other) && !relations_name(other, device)))
            continue;
        error = relations_add(device, other);
        if (error < 0)
            break;
    }
    return error;
}

static enum registry_verdict registry_claim_new(struct registry *registry, const char *path,
                                                struct backend *backend,
                                                const struct backend_info *info,
                                                struct device **ret_device)
{
    struct device *device =
        device_new(&registry->commons, registry->last_device + 1, path, backend, info);
    if (device == NULL)
        return REGISTRY_NO_MEMORY;
    if (registry_relate(registry, device) < 0) {
        relations_end(device);
        (void)device_free(device);
        return REGISTRY_CROWDED;
    }
    registry->last_device++;
    device->registration.session_count = 1;
    HASH_ADD(hh, registry->by_identity, identity, sizeof(device->identity), device);
    TAILQ_INSERT_TAIL(&registry->devices, device, registration.link);
    *ret_device = device;
    return REGISTRY_NEW;
}

enum registry_verdict registry_claim(struct registry *registry, struct claim *claim,
                                     const char *path, struct backend *backend,
                                     const struct backend_info *info, struct device **ret_device)
{
    enum registry_verdict verdict = REGISTRY_EXISTING;
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    HASH_FIND(hh, registry->by_identity, &info->identity, sizeof(info->identity), device);
    if (device == NULL && registry->resized != claim->resized) {
        verdict = REGISTRY_STALE;
    } else if (device == NULL) {
        verdict = registry_claim_new(registry, path, backend, info, ret_device);
    } else if (device->registration.state != DEVICE_OPEN) {
        STAILQ_INSERT_TAIL(&device->registration.waiting, claim, link);
        verdict = REGISTRY_WAIT;
    } else {
        device->registration.session_count++;
        *ret_device = device;
    }
    pthread_mutex_unlock(&registry->mutex);
    return verdict;
}

/* NULL: there is none. With the registry's mutex held. */
static struct device *registry_by_number(struct registry *registry, uint64_t number)
{
    struct device *device = NULL;
    TAILQ_FOREACH (device, &registry->devices, registration.link) {
        if (device->number == number)
            break;
    }
    return device;
}

int registry_claim_number(struct registry *registry, uint64_t number, struct device **ret_device)
{
    int error = -ENODEV;
    pthread_mutex_lock(&registry->mutex);
    struct device *device = registry_by_number(registry, number);
    if (device != NULL && device->registration.state == DEVICE_OPEN) {
        device->registration.session_count++;
        *ret_device = device;
        error = 0;
    } else if (device != NULL) {
        error = -EAGAIN;
    }
    pthread_mutex_unlock(&registry->mutex);
    return error;
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
        loop_post(ending->loop, &ending->letter);
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
        notify_session(session, SESSION_EVENT_EVICTED);
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
    struct device *device = CONTAINER_OF(job, struct device, closing.job);
    backend_close(device->backend);
}

static void on_claim_letter(struct letter *letter)
{
    struct claim *claim = CONTAINER_OF(letter, struct claim, letter);
    claim->on_retry(claim);
}

/* With the registry's mutex held. */
static void registry_wake_openers(struct device *device)
{
    struct claim *claim = NULL;
    while ((claim = STAILQ_FIRST(&device->registration.waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&device->registration.waiting, link);
        claim->letter.deliver = on_claim_letter;
        loop_post(claim->loop, &claim->letter);
    }
}

void registry_forget(struct registry *registry, struct device *device)
{
    struct io_loop *loop = device->closing.loop;
    registry_log_closed(device);
    pthread_mutex_lock(&registry->mutex);
    commons_tell(&registry->commons, HAPPENING_DEVICE_CLOSED, device, NULL, NULL);
    HASH_DEL(registry->by_identity, device);
    TAILQ_REMOVE(&registry->devices, device, registration.link);
    if (device->resized)
        registry->resized++;
    registry_wake_openers(device);
    pthread_mutex_unlock(&registry->mutex);
    (void)user_unref(registry->commons.users, device->closing.user);
    (void)device_free(device);
    loop_release(&loop->base);
}

static void on_device_closed(struct helper_job *job)
{
    struct device *device = CONTAINER_OF(job, struct device, closing.job);
    registry_forget(registry_of(device), device);
}

/* Not closed but kept, failed, with its descriptors: whoever opens it next must be told. */
static void registry_keep_failed(struct registry *registry, struct device *device)
{
    struct io_loop *loop =
        device->closing.loop; /* the device may be claimed and closed again at once */
    struct user *user = device->closing.user;
    pthread_mutex_lock(&registry->mutex);
    device->registration.state = DEVICE_OPEN;
    registry_wake_openers(device);
    pthread_mutex_unlock(&registry->mutex);
    (void)user_unref(registry->commons.users, user);
    loop_release(&loop->base);
}

static void registry_close(struct device *device, int result)
{
    struct registry *registry = registry_of(device);
    if (result < 0) {
        registry_keep_failed(registry, device);
        return;
    }
    pthread_mutex_lock(&registry->mutex);
    device->registration.state = DEVICE_CLOSED;
    pthread_mutex_unlock(&registry->mutex);
    relations_end(device);
    device->closing.job = (struct helper_job){
        .run = on_device_close_run,
        .on_done = on_device_closed,
        .shares = {&device->closing.user->helper_share},
    };
    loop_submit(&device->closing.loop->base, &device->closing.job);
}

static void on_close_flushed(struct flush *flush, int result);

/* Nobody has the device any more, and nothing holds it. On its closer. */
static void registry_begin_close(struct device *device)
{
    device->closing.flush = (struct flush){.loop = device->closing.loop,
                                           .user_share = &device->closing.user->helper_share,
                                           .on_done = on_close_flushed};
    int result = flush_end(device, &device->closing.flush);
    if (result <= 0)
        registry_close(device, result);
}

/* Once more: a flush of another that shares its bytes may have begun one since. */
static void on_close_flushed(struct flush *flush, int result)
{
    struct device *device = CONTAINER_OF(flush, struct device, closing.flush);
    if (result < 0)
        registry_close(device, result);
    else
        registry_begin_close(device);
}

static void on_close_letter(struct letter *letter)
{
    registry_begin_close(CONTAINER_OF(letter, struct device, closing.letter));
}

void registry_release(struct registry *registry, struct device *device, struct io_loop *loop,
                      struct user *user)
{
    bool begin = false;
    pthread_mutex_lock(&registry->mutex);
    assert(device->registration.session_count > 0);
    if (--device->registration.session_count == 0) {
        device->registration.state = DEVICE_CLOSING;
        device->closing.loop = loop;
        device->closing.user = user_ref(registry->commons.users, user->uid);
        loop_hold(&loop->base);
        begin = atomic_load(&device->registration.holds) == 0;
        device->closing.letter.deliver = on_close_letter;
        device->closing.waits = !begin;
    }
    pthread_mutex_unlock(&registry->mutex);
    if (begin)
        registry_begin_close(device);
}

struct device *registry_find(struct registry *registry, uint64_t number)
{
    pthread_mutex_lock(&registry->mutex);
    struct device *device = registry_by_number(registry, number);
    if (device != NULL &&
        (device->registration.state != DEVICE_OPEN || device->registration.session_count == 0))
        device = NULL;
    if (device != NULL)
        hold_take(device);
    pthread_mutex_unlock(&registry->mutex);
    return device;
}

/* With the registry's mutex held. */
static bool registry_is_sound(struct device *device)
{
    if (device->registration.state != DEVICE_OPEN || device->registration.session_count == 0)
        return false;
    pthread_mutex_lock(&device->mutex);
    bool sound = device->sync.ledger.failed == 0;
    pthread_mutex_unlock(&device->mutex);
    return sound;
}

size_t registry_hold_sound(struct registry *registry, uint64_t after, struct device **ret_devices,
                           size_t max)
{
    size_t count = 0;
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (device, &registry->devices, registration.link) {
        if (count == max)
            break;
        if (device->number <= after || !registry_is_sound(device))
            continue;
        hold_take(device);
        ret_devices[count++] = device;
    }
    pthread_mutex_unlock(&registry->mutex);
    return count;
}

struct device *registry_look_up(struct registry *registry, const struct device_identity *identity)
{
    struct device *device = NULL;
    HASH_FIND(hh, registry->by_identity, identity, sizeof(*identity), device);
    return device == NULL || device->registration.state == DEVICE_CLOSED ? NULL : device;
}

char *registry_path(struct registry *registry, uint64_t number)
{
    char *path = NULL;
    pthread_mutex_lock(&registry->mutex);
    const struct device *device = registry_by_number(registry, number);
    if (device != NULL && device->registration.state != DEVICE_CLOSED)
        path = strdup(device->path);
    pthread_mutex_unlock(&registry->mutex);
    return path;
}

/* For a flush of another device that shares its bytes. */
static bool registry_is_syncing(struct device *device)
{
    pthread_mutex_lock(&device->mutex);
    bool syncing = device->sync.ledger.running;
    pthread_mutex_unlock(&device->mutex);
    return syncing;
}

int registry_take_alone(struct registry *registry, struct device *device)
{
    int error = 0;
    pthread_mutex_lock(&registry->mutex);
    if (device->registration.session_count > 1)
        error = -EBUSY;
    else if (atomic_load(&device->registration.holds) > 0 || registry_is_syncing(device))
        error = -EAGAIN;
    else
        device->registration.state = DEVICE_CLOSING;
    pthread_mutex_unlock(&registry->mutex);
    return error;
}

void registry_alone_closes(struct registry *registry, struct device *device, struct io_loop *loop,
                           struct user *user)
{
    pthread_mutex_lock(&registry->mutex);
    assert(device->registration.session_count == 1);
    device->registration.session_count = 0;
    device->registration.state = DEVICE_CLOSED;
    device->closing.loop = loop;
    device->closing.user = user_ref(registry->commons.users, user->uid);
    loop_hold(&loop->base);
    pthread_mutex_unlock(&registry->mutex);
}

void registry_give_back(struct registry *registry, struct device *device, struct io_loop *loop,
                        struct user *user)
{
    pthread_mutex_lock(&registry->mutex);
    device->registration.state = DEVICE_OPEN;
    registry_wake_openers(device);
    pthread_mutex_unlock(&registry->mutex);
    registry_release(registry, device, loop, user);
}
