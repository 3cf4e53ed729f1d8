/* SPDX-License-Identifier: MIT */
/* The lock domain, and the devices in it that share bytes. device_lock.h says what it is for. */
#include <errno.h>

#include "daemon/device/lock.h"

void lock_domain_init(struct lock_domain *domain)
{
    (void)pthread_mutex_init(&domain->mutex, NULL);
    lock_space_init(&domain->space);
    domain->last_lock = 0;
    atomic_init(&domain->last_generation, 0);
}

void lock_domain_deinit(struct lock_domain *domain)
{
    (void)pthread_mutex_destroy(&domain->mutex);
}

/* In the order of their numbers, as `related` is: the domain's mutex alone would do, but so the
 * order can be checked. */
void device_locks_enter(struct device *device)
{
    unsigned int i = 0;
    pthread_mutex_lock(&device->domain->mutex);
    for (; i < device->related_count && device->related[i]->number < device->number; i++)
        pthread_mutex_lock(&device->related[i]->mutex);
    pthread_mutex_lock(&device->mutex);
    for (; i < device->related_count; i++)
        pthread_mutex_lock(&device->related[i]->mutex);
}

void device_locks_leave(struct device *device)
{
    for (unsigned int i = 0; i < device->related_count; i++)
        pthread_mutex_unlock(&device->related[i]->mutex);
    pthread_mutex_unlock(&device->mutex);
    pthread_mutex_unlock(&device->domain->mutex);
}

/* ---- devices that share bytes ---- */

static void device_add_related(struct device *device, struct device *other)
{
    unsigned int i = device->related_count++;
    for (; i > 0 && device->related[i - 1]->number > other->number; i--)
        device->related[i] = device->related[i - 1];
    device->related[i] = other;
}

static void device_drop_related(struct device *device, const struct device *other)
{
    unsigned int i = 0;
    while (device->related[i] != other)
        i++;
    for (device->related_count--; i < device->related_count; i++)
        device->related[i] = device->related[i + 1];
}

int device_relate(struct device *device, struct device *other)
{
    struct device *first = device->number < other->number ? device : other;
    struct device *second = first == device ? other : device;
    int error = -EDQUOT;
    pthread_mutex_lock(&device->domain->mutex);
    pthread_mutex_lock(&first->mutex);
    pthread_mutex_lock(&second->mutex);
    if (device->related_count < BACKEND_RELATED_MAX && other->related_count < BACKEND_RELATED_MAX)
        error = lock_relate(&device->locks, &other->locks);
    if (error == 0) {
        device_add_related(device, other);
        device_add_related(other, device);
    }
    pthread_mutex_unlock(&second->mutex);
    pthread_mutex_unlock(&first->mutex);
    pthread_mutex_unlock(&device->domain->mutex);
    return error;
}

/* The relations are dropped one by one, so that leaving unlocks what entering has locked. */
void device_unrelate(struct device *device)
{
    struct device *others[BACKEND_RELATED_MAX];
    device_locks_enter(device);
    unsigned int count = device->related_count;
    lock_unrelate(&device->locks);
    for (unsigned int i = 0; i < count; i++) {
        others[i] = device->related[i];
        device_drop_related(others[i], device);
    }
    device->related_count = 0;
    for (unsigned int i = 0; i < count; i++)
        pthread_mutex_unlock(&others[i]->mutex);
    device_locks_leave(device);
}
