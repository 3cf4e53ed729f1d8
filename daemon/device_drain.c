/* SPDX-License-Identifier: MIT */
/*
 * Drains: transfers are counted by the epoch they began in. A drain turns the epoch and is done
 * when the old one's count is 0. There are two epochs, so drains take their turns; one that waits
 * for its turn covers what began before that, which is more than it has to and never less.
 *
 * Invariant: while drains wait, in_flight[1 - epoch] is what the first of them waits for, and not
 * 0.
 */
#include <assert.h>

#include "common/container.h"
#include "daemon/device.h"
#include "daemon/worker.h"

static void on_drain_letter(struct letter *letter)
{
    struct device_drain *drain = CONTAINER_OF(letter, struct device_drain, letter);
    drain->on_done(drain);
}

/* False: nothing is in flight. */
static bool drain_turn(struct device *device)
{
    assert(device->in_flight[1 - device->epoch] == 0);
    device->epoch = 1 - device->epoch;
    return device->in_flight[1 - device->epoch] > 0;
}

bool device_drain(struct device *device, struct device_drain *drain)
{
    if (TAILQ_EMPTY(&device->drains) && !drain_turn(device))
        return false;
    TAILQ_INSERT_TAIL(&device->drains, drain, link);
    return true;
}

void device_drain_step(struct device *device, unsigned int epoch)
{
    struct device_drain *drain = TAILQ_FIRST(&device->drains);
    if (drain == NULL || epoch == device->epoch)
        return;
    do {
        TAILQ_REMOVE(&device->drains, drain, link);
        drain->letter.deliver = on_drain_letter;
        mailbox_post(&drain->worker->mailbox, &drain->letter);
        drain = TAILQ_FIRST(&device->drains);
    } while (drain != NULL && !drain_turn(device));
}
