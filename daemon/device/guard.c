/* SPDX-License-Identifier: MIT */
/*
 * Since the engines of all loops keep the guard's descriptors, a change goes
 *
 *   stronger: change it, then have each loop pin it
 *   weaker:   have each loop let go of it, change it, then have each loop pin what is left
 *
 * Those who come while a change is under way wait for the next one, which looks at the table anew.
 */
#include "daemon/device/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/device/device.h"
#include "daemon/device/notify.h"
#include "daemon/device/session_lock.h"

static void guard_next(struct device *device);

int guard_init(struct device *device)
{
    const struct commons *commons = device->commons;
    struct guard *guard = &device->guard;
    TAILQ_INIT(&guard->waits);
    TAILQ_INIT(&guard->current);
    guard->pins = calloc(commons->loop_count, sizeof(*guard->pins));
    if (guard->pins == NULL)
        return -ENOMEM;
    guard->pin_count = commons->loop_count;
    for (unsigned int i = 0; i < guard->pin_count; i++) {
        guard->pins[i].device = device;
        guard->pins[i].loop = commons->loops[i];
    }
    return 0;
}

void guard_deinit(struct guard *guard)
{
    free(guard->pins);
}

static void on_guard_letter(struct letter *letter)
{
    struct guard_wait *wait = CONTAINER_OF(letter, struct guard_wait, letter);
    wait->on_done(wait, wait->kept, wait->result);
}

/* With the device's mutex held. */
static void guard_answer(struct guard *guard)
{
    while (!TAILQ_EMPTY(&guard->current)) {
        struct guard_wait *wait = TAILQ_FIRST(&guard->current);
        TAILQ_REMOVE(&guard->current, wait, link);
        wait->kept = guard->kept;
        wait->result = guard->result;
        wait->refusal = guard->io.refusal;
        (void)memcpy(wait->message, guard->message, sizeof(wait->message));
        wait->letter.deliver = on_guard_letter;
        loop_post(&wait->loop->base, &wait->letter);
    }
}

/* Whether locks are held that the outside world does not respect any more. */
static bool guard_is_short(struct device *device)
{
    pthread_mutex_lock(&device->mutex);
    bool is_short = guard_for(lock_table_held(&device->locks)) > device->guard.kept;
    pthread_mutex_unlock(&device->mutex);
    return is_short;
}

/* The change is over, or there was none to make. True: others wait for the next. If not, the device
 * may be gone as soon as its mutex is free. */
static bool guard_finish(struct device *device)
{
    struct guard *guard = &device->guard;
    if (guard->result < 0 && guard_is_short(device))
        (void)session_locks_revoke(device, 0, SESSION_EVENT_LOCK_LOST);
    pthread_mutex_lock(&device->mutex);
    guard_answer(guard);
    bool again = !TAILQ_EMPTY(&guard->waits);
    guard->busy = again;
    pthread_mutex_unlock(&device->mutex);
    return again;
}

static void guard_done(struct device *device)
{
    if (guard_finish(device))
        guard_next(device);
}

/* ---- the loops' part ---- */

static void guard_pin_done(struct guard_pin *pin)
{
    struct device *device = pin->device;
    pthread_mutex_lock(&device->mutex);
    bool last = --device->guard.pins_left == 0;
    pthread_mutex_unlock(&device->mutex);
    if (last)
        device->guard.pinned(device);
}

static void on_guard_pin(struct letter *letter)
{
    struct guard_pin *pin = CONTAINER_OF(letter, struct guard_pin, letter);
    backend_pin(pin->device->backend, pin->loop->engine);
    guard_pin_done(pin);
}

static void on_guard_unpin(struct letter *letter)
{
    struct guard_pin *pin = CONTAINER_OF(letter, struct guard_pin, letter);
    backend_unpin(pin->device->backend, pin->loop->engine);
    guard_pin_done(pin);
}

/* A loop that has ended has no I/O any more, and its ring goes with the process. */
static void guard_tell_loops(struct device *device, void (*deliver)(struct letter *letter),
                             void (*pinned)(struct device *device))
{
    struct guard *guard = &device->guard;
    guard->pinned = pinned;
    guard->pins_left = guard->pin_count + 1;
    for (unsigned int i = 0; i < guard->pin_count; i++) {
        struct guard_pin *pin = &guard->pins[i];
        pin->letter.deliver = deliver;
        if (!loop_try_post(&pin->loop->base, &pin->letter))
            guard_pin_done(pin);
    }
    guard_pin_done(&guard->pins[0]); /* the one more: nobody is last before all are told */
}

/* ---- the change ---- */

static void on_guard_changed(struct io *io, int result)
{
    struct device *device = CONTAINER_OF(io, struct device, guard.io);
    struct guard *guard = &device->guard;
    pthread_mutex_lock(&device->mutex);
    /* Until now outsiders could write, unseen: what they wrote is nobody's change, and unsynced. */
    if ((enum guard_mode)io->value > guard->kept) {
        sync_born_unsynced(&device->sync.ledger, clock_unix_ms());
        device->relations.doubts++;
    }
    guard->kept = (enum guard_mode)io->value;
    guard->result = result;
    bool pin = guard->kept != GUARD_NONE;
    bool unpin = !pin && guard->pinned_any; /* all was lost in an attempt to strengthen it */
    guard->pinned_any = pin;
    pthread_mutex_unlock(&device->mutex);
    if (pin)
        guard_tell_loops(device, on_guard_pin, guard_done);
    else if (unpin)
        guard_tell_loops(device, on_guard_unpin, guard_done);
    else
        guard_done(device);
}

static void guard_change(struct device *device)
{
    struct guard *guard = &device->guard;
    struct guard_wait *first = TAILQ_FIRST(&guard->current);
    guard->message[0] = '\0';
    guard->io = (struct io){.op = IO_GUARD,
                            .guard_mode = guard->target,
                            .message = guard->message,
                            .loop = first->loop,
                            .user_share = first->user_share,
                            .on_done = on_guard_changed};
    backend_submit(device->backend, &guard->io);
}

/* The change is made on the loop of the first who waits for it. */
static void on_guard_change(struct letter *letter)
{
    struct guard_wait *first = CONTAINER_OF(letter, struct guard_wait, letter);
    guard_change(first->device);
}

static void guard_begin_change(struct device *device)
{
    struct guard_wait *first = TAILQ_FIRST(&device->guard.current);
    first->letter.deliver = on_guard_change;
    loop_post(&first->loop->base, &first->letter);
}

/* Those who wait are the ones whom the next change is for. Returns what it is to be kept out in
 * now. */
static enum guard_mode guard_take_up(struct device *device, enum guard_mode *ret_kept)
{
    struct guard *guard = &device->guard;
    pthread_mutex_lock(&device->commons->locks.mutex);
    pthread_mutex_lock(&device->mutex);
    enum guard_mode target = guard_for(lock_table_mode(&device->locks));
    *ret_kept = guard->kept;
    TAILQ_CONCAT(&guard->current, &guard->waits, link);
    guard->target = target;
    guard->result = 0;
    pthread_mutex_unlock(&device->mutex);
    pthread_mutex_unlock(&device->commons->locks.mutex);
    return target;
}

/* Somebody waits, and nothing is under way. */
static void guard_next(struct device *device)
{
    for (;;) {
        enum guard_mode kept = GUARD_NONE;
        enum guard_mode target = guard_take_up(device, &kept);
        if (target > kept) {
            guard_begin_change(device);
            return;
        }
        if (target < kept) {
            device->guard.pinned_any = false; /* nobody else looks while a change is under way */
            guard_tell_loops(device, on_guard_unpin, guard_begin_change);
            return;
        }
        if (!guard_finish(device))
            return;
    }
}

void guard_settle(struct device *device, struct guard_wait *wait)
{
    struct guard *guard = &device->guard;
    wait->device = device;
    pthread_mutex_lock(&device->mutex);
    TAILQ_INSERT_TAIL(&guard->waits, wait, link);
    bool idle = !guard->busy;
    guard->busy = true;
    pthread_mutex_unlock(&device->mutex);
    if (idle)
        guard_next(device);
}
