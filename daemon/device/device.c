/* SPDX-License-Identifier: MIT */
#include "daemon/device/device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "daemon/device/lock.h"
#include "daemon/device/session.h"
#include "daemon/link/worker.h"

static int device_copy_related(struct device *device, const struct backend_info *info)
{
    size_t bytes = info->related_count * sizeof(*info->related);
    if (bytes == 0)
        return 0;
    device->related_identities = malloc(bytes);
    if (device->related_identities == NULL)
        return -ENOMEM;
    (void)memcpy(device->related_identities, info->related, bytes);
    device->related_identity_count = info->related_count;
    return 0;
}

static int device_make_pins(struct device *device)
{
    struct server *server = device->server;
    struct device_guard *guard = &device->guard;
    TAILQ_INIT(&guard->waits);
    TAILQ_INIT(&guard->current);
    guard->pins = calloc(server->worker_count, sizeof(*guard->pins));
    if (guard->pins == NULL)
        return -ENOMEM;
    guard->pin_count = server->worker_count;
    for (unsigned int i = 0; i < guard->pin_count; i++) {
        guard->pins[i].device = device;
        guard->pins[i].worker = &server->workers[i];
    }
    return 0;
}

static void device_init_sync(struct device *device)
{
    struct state_failure failure;
    sync_init(&device->sync, worker_unix_ms());
    TAILQ_INIT(&device->failure_answers);
    if (!state_find_failure(device->server->state, &device->key, &failure))
        return;
    sync_init_failed(&device->sync, failure.error, failure.unix_ms);
    device->failure_kept = true;
}

static struct device *device_alloc(struct server *server, const char *path,
                                   const struct backend_info *info)
{
    struct device *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return NULL;
    device->server = server;
    device->path = strdup(path);
    if (device->path == NULL || device_copy_related(device, info) < 0 ||
        device_make_pins(device) < 0) {
        free(device->related_identities);
        free(device->path);
        free(device);
        return NULL;
    }
    return device;
}

/* Held for some tens of nanoseconds at each transfer: who finds it taken looks again for a moment
 * before it sleeps. */
static void device_init_mutex(struct device *device)
{
    pthread_mutexattr_t attributes;
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void)pthread_mutex_init(&device->mutex, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
}

struct device *device_new(struct server *server, uint64_t number, const char *path,
                          struct backend *backend, const struct backend_info *info)
{
    struct device *device = device_alloc(server, path, info);
    if (device == NULL)
        return NULL;
    device_init_mutex(device);
    STAILQ_INIT(&device->reopeners);
    device->identity = info->identity;
    device->key = info->key;
    device->domain = &server->registry.locks;
    device->number = number;
    device->kind = info->kind;
    device->direct = info->direct;
    device->volatile_storage = info->volatile_storage;
    device->granule_bytes = info->granule_bytes;
    device->backend = backend;
    device->read_write = info->read_write;
    device->size_bytes = info->size_bytes;
    device->generation = device_next_generation(device);
    lock_table_init(&device->locks, &device->domain->space);
    device_init_sync(device);
    TAILQ_INIT(&device->sessions);
    STAILQ_INIT(&device->tasks);
    drain_gate_init(&device->transfers);
    device_looks_init(&device->looks);
    return device;
}

struct device *device_free(struct device *device)
{
    if (device == NULL)
        return NULL;
    assert(TAILQ_EMPTY(&device->sessions) && STAILQ_EMPTY(&device->tasks));
    assert(drain_gate_count(&device->transfers) == 0 && !device->guard.busy &&
           device->related_count == 0);
    (void)pthread_mutex_destroy(&device->mutex);
    free(device->guard.pins);
    free(device->related_identities);
    free(device->path);
    free(device);
    return NULL;
}

uint64_t device_next_generation(struct device *device)
{
    return atomic_fetch_add(&device->domain->last_generation, 1) + 1;
}

static int device_refuse(struct device_refusal *refusal, int error, const char *reason)
{
    (void)snprintf(refusal->text, sizeof(refusal->text), "%s", reason);
    return error;
}

static int device_refuse_bounds(const struct device *device, enum io_op op, uint64_t end_bytes,
                                struct device_refusal *refusal)
{
    refusal->bounds = true;
    (void)snprintf(refusal->text, sizeof(refusal->text),
                   "it ends at %llu, past the device's end at %llu bytes; nothing was transferred",
                   (unsigned long long)end_bytes, (unsigned long long)device->size_bytes);
    return op == IO_READ ? -EINVAL : -ENOSPC;
}

static int device_refuse_lock(int error, const struct lock *blocker, struct device_refusal *refusal)
{
    if (error == -ESTALE)
        return device_refuse(refusal, error,
                             "the lock that this session held was taken away: unlock it or lock it "
                             "again to go on, after a look at what others have written since");
    if (blocker == NULL)
        return device_refuse(refusal, error,
                             "a session holds a lock on a device that shares bytes with this one "
                             "(blkd-cli why tells which)");
    session_lock_describe(blocker, refusal->text, sizeof(refusal->text));
    return error;
}

int device_may_change(const struct device *device, const struct session *session,
                      struct lock_range range, struct device_refusal *refusal)
{
    const struct lock *blocker = NULL;
    if (device->sync.failed != 0)
        return device_refuse(refusal, -EIO,
                             "an earlier sync of the device failed, so data is already lost: "
                             "nothing is written to it until it is recovered (blkd-cli recover)");
    int error = lock_may_change(&device->locks, &session->lock, range, &blocker);
    return error < 0 ? device_refuse_lock(error, blocker, refusal) : 0;
}

static int device_may_read(const struct device *device, const struct session *session,
                           struct lock_range range, struct device_refusal *refusal)
{
    const struct lock *blocker = NULL;
    int error = lock_may_read(&device->locks, &session->lock, range, &blocker);
    return error < 0 ? device_refuse_lock(error, blocker, refusal) : 0;
}

static int device_check(const struct device *device, const struct session *session, enum io_op op,
                        uint64_t offset_bytes, uint64_t end_bytes, struct device_refusal *refusal)
{
    const struct lock_range range = {offset_bytes, end_bytes - 1};
    if (end_bytes > device->size_bytes)
        return device_refuse_bounds(device, op, end_bytes, refusal);
    return op == IO_READ ? device_may_read(device, session, range, refusal)
                         : device_may_change(device, session, range, refusal);
}

void device_enter(struct device *device, struct session *session, struct device_ticket *ret_ticket)
{
    ret_ticket->device_epoch = drain_gate_enter(&device->transfers);
    ret_ticket->session_epoch = drain_gate_enter(&session->transfers);
}

void device_leave(struct device *device, struct session *session, struct device_ticket ticket)
{
    drain_gate_leave(&session->transfers, ticket.session_epoch);
    drain_gate_leave(&device->transfers, ticket.device_epoch);
}

int device_begin(struct device *device, struct session *session, enum io_op op,
                 uint64_t offset_bytes, uint64_t end_bytes, struct device_ticket *ret_ticket,
                 struct device_refusal *ret_refusal)
{
    ret_refusal->bounds = false;
    pthread_mutex_lock(&device->mutex);
    int error = device_check(device, session, op, offset_bytes, end_bytes, ret_refusal);
    if (error == 0) {
        device_enter(device, session, ret_ticket);
    }
    pthread_mutex_unlock(&device->mutex);
    return error;
}

static void device_count(struct stats *stats, enum io_op op, uint64_t length_bytes, int result)
{
    if (result < 0) {
        stats->errors++;
    } else if (op == IO_READ) {
        stats->reads++;
        stats->read_bytes += length_bytes;
    } else if (op == IO_WRITE) {
        stats->writes++;
        stats->written_bytes += length_bytes;
    } else if (op == IO_DISCARD) {
        stats->discards++;
    } else if (op == IO_ZERO) {
        stats->zeroes++;
    }
}

static void device_ledger(struct device *device, struct session *session, bool fua, int result)
{
    uint64_t now_ms = worker_unix_ms();
    if (result == 0 && fua)
        sync_changed_durably(&device->sync, &session->unsynced, now_ms);
    else
        sync_changed(&device->sync, &session->unsynced, now_ms);
    if (session->asked.sync != SESSION_SYNC_NONE)
        device->close_sync = true;
    if (fua && result == -EIO)
        device_fail(device, session->worker, result);
}

void device_end(struct device *device, struct session *session, enum io_op op,
                uint64_t length_bytes, bool fua, struct device_ticket ticket, int result)
{
    pthread_mutex_lock(&device->mutex);
    device_count(&session->stats, op, length_bytes, result);
    if (op != IO_READ)
        device_ledger(device, session, fua, result);
    device_leave(device, session, ticket);
    pthread_mutex_unlock(&device->mutex);
}

void device_notify(struct device *device, const struct session *except, unsigned int events)
{
    struct session *session = NULL;
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (session != except)
            session_tell(session, events);
    }
}
