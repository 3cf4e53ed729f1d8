/* SPDX-License-Identifier: MIT */
#include "daemon/device/device.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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

static void device_init(struct device *device, const struct backend_info *info)
{
    device_init_mutex(device);
    STAILQ_INIT(&device->registration.waiting);
    device->identity = info->identity;
    device_state_key(&info->key, &device->key);
    device->place = info->place;
    device->kind = info->kind;
    device->direct = info->direct;
    device->volatile_storage = info->volatile_storage;
    device->granule_bytes = info->granule_bytes;
    device->read_write = info->read_write;
    device->size_bytes = info->size_bytes;
    device->generation = device_next_generation(device);
    lock_table_init(&device->locks, &device->commons->locks.space);
    flush_init(device);
    TAILQ_INIT(&device->sessions);
    STAILQ_INIT(&device->tasks);
    drain_gate_init(&device->transfers);
    size_checks_init(&device->looks);
}

static void device_free_parts(struct device *device)
{
    flush_deinit(device);
    guard_deinit(&device->guard);
    relations_deinit(&device->relations);
    free(device->sync.doubt);
    free(device->path);
    free(device);
}

struct device *device_new(struct commons *commons, uint64_t number, const char *path,
                          struct backend *backend, const struct backend_info *info)
{
    struct device *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return NULL;
    device->commons = commons;
    device->number = number;
    device->backend = backend;
    device->path = strdup(path);
    if (device->path == NULL || relations_init(&device->relations, info) < 0 ||
        guard_init(device) < 0) {
        device_free_parts(device);
        return NULL;
    }
    device_init(device, info);
    return device;
}

struct device *device_free(struct device *device)
{
    if (device == NULL)
        return NULL;
    assert(TAILQ_EMPTY(&device->sessions) && STAILQ_EMPTY(&device->tasks));
    assert(drain_gate_count(&device->transfers) == 0 && !device->guard.busy &&
           device->relations.count == 0);
    (void)pthread_mutex_destroy(&device->mutex);
    device_free_parts(device);
    return NULL;
}

_Static_assert((int)STATE_KEY_MAX >= (int)BACKEND_KEY_MAX, "no key is cut");

void device_state_key(const struct backend_key *key, struct state_key *ret_key)
{
    (void)strcpy(ret_key->text, key->text);
}

uint64_t device_next_generation(struct device *device)
{
    return atomic_fetch_add(&device->commons->locks.last_generation, 1) + 1;
}
