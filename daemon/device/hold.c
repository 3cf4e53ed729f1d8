/* SPDX-License-Identifier: MIT */
#include "daemon/device/hold.h"

#include "common/container.h"
#include "daemon/device/registry.h"

void hold_take(struct device *device)
{
    atomic_fetch_add(&device->registration.holds, 1);
}

void hold_drop(struct device *device)
{
    struct registry *registry = CONTAINER_OF(device->commons, struct registry, commons);
    pthread_mutex_lock(&registry->mutex);
    bool last = atomic_fetch_sub(&device->registration.holds, 1) == 1;
    if (last && device->closing.waits) {
        device->closing.waits = false;
        loop_post(&device->closing.loop->base, &device->closing.letter);
    }
    pthread_mutex_unlock(&registry->mutex);
}
