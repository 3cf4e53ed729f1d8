/* SPDX-License-Identifier: MIT */
#include "daemon/device/relations.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/device/device.h"

int relations_init(struct relations *relations, const struct backend_info *info)
{
    size_t bytes = info->related_count * sizeof(*info->related);
    if (bytes == 0)
        return 0;
    relations->identities = malloc(bytes);
    if (relations->identities == NULL)
        return -ENOMEM;
    (void)memcpy(relations->identities, info->related, bytes);
    relations->identity_count = info->related_count;
    return 0;
}

void relations_deinit(struct relations *relations)
{
    free(relations->identities);
}

bool relations_name(const struct device *device, const struct device *other)
{
    const struct relations *relations = &device->relations;
    for (size_t i = 0; i < relations->identity_count; i++) {
        if (memcmp(&relations->identities[i], &other->identity, sizeof(other->identity)) == 0)
            return true;
    }
    return false;
}

/* In the order of their numbers, as `devices` is: the domain's mutex alone would do, but so the
 * order can be checked. */
void relations_enter(struct device *device)
{
    unsigned int i = 0;
    pthread_mutex_lock(&device->commons->locks.mutex);
    for (; i < device->relations.count && device->relations.devices[i]->number < device->number;
         i++)
        pthread_mutex_lock(&device->relations.devices[i]->mutex);
    pthread_mutex_lock(&device->mutex);
    for (; i < device->relations.count; i++)
        pthread_mutex_lock(&device->relations.devices[i]->mutex);
}

void relations_leave(struct device *device)
{
    for (unsigned int i = 0; i < device->relations.count; i++)
        pthread_mutex_unlock(&device->relations.devices[i]->mutex);
    pthread_mutex_unlock(&device->mutex);
    pthread_mutex_unlock(&device->commons->locks.mutex);
}

uint64_t relations_doubts(const struct device *device)
{
    uint64_t doubts = device->relations.doubts;
    for (unsigned int i = 0; i < device->relations.count; i++)
        doubts += device->relations.devices[i]->sync.ledger.acknowledged;
    return doubts;
}

/* ---- devices that share bytes ---- */

static void relations_insert(struct device *device, struct device *other)
{
    unsigned int i = device->relations.count++;
    for (; i > 0 && device->relations.devices[i - 1]->number > other->number; i--)
        device->relations.devices[i] = device->relations.devices[i - 1];
    device->relations.devices[i] = other;
}

static void relations_remove(struct device *device, const struct device *other)
{
    unsigned int i = 0;
    while (device->relations.devices[i] != other)
        i++;
    device->relations.doubts += other->sync.ledger.acknowledged; /* it counts no more by itself */
    for (device->relations.count--; i < device->relations.count; i++)
        device->relations.devices[i] = device->relations.devices[i + 1];
}

int relations_add(struct device *device, struct device *other)
{
    struct device *first = device->number < other->number ? device : other;
    struct device *second = first == device ? other : device;
    int error = -EDQUOT;
    pthread_mutex_lock(&device->commons->locks.mutex);
    pthread_mutex_lock(&first->mutex);
    pthread_mutex_lock(&second->mutex);
    if (device->relations.count < BACKEND_RELATED_MAX &&
        other->relations.count < BACKEND_RELATED_MAX)
        error = lock_relate(&device->locks, &other->locks);
    if (error == 0) {
        relations_insert(device, other);
        relations_insert(other, device);
    }
    pthread_mutex_unlock(&second->mutex);
    pthread_mutex_unlock(&first->mutex);
    pthread_mutex_unlock(&device->commons->locks.mutex);
    return error;
}

/* The relations are dropped one by one, so that leaving unlocks what entering has locked. */
void relations_end(struct device *device)
{
    struct device *others[BACKEND_RELATED_MAX];
    relations_enter(device);
    unsigned int count = device->relations.count;
    lock_unrelate(&device->locks);
    for (unsigned int i = 0; i < count; i++) {
        others[i] = device->relations.devices[i];
        relations_remove(others[i], device);
    }
    device->relations.count = 0;
    for (unsigned int i = 0; i < count; i++)
        pthread_mutex_unlock(&others[i]->mutex);
    relations_leave(device);
}
