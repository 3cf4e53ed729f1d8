/* SPDX-License-Identifier: MIT */
#include "daemon/device/size_check.h"

#include <errno.h>
#include <string.h>

#include "common/container.h"
#include "common/range.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/device/device.h"
#include "daemon/device/hold.h"
#include "daemon/device/notify.h"
#include "daemon/device/registry.h"
#include "daemon/device/session.h"

enum { LOOK_BATCH = 64 };

/* ---- what was seen ---- */

static void look_log_failure(const struct device *device, int error)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "look-failed");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_errno(&line, error);
    log_text(
        &line, "message",
        "cannot get its size any more, the device may be gone; still using the last known size");
    log_end(&line);
}

static void look_log_resized(const struct device *device, uint64_t before_bytes)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_NOTICE, "resized-outside");
    log_number(&line, "device", device->number);
    log_text(&line, "path", device->path);
    log_number(&line, "before", before_bytes);
    log_number(&line, "size", device->size_bytes);
    log_number(&line, "generation", device->generation);
    log_end(&line);
}

/* With the mutex held. Whoever changed the size may have written, too. */
static void look_resize(struct device *device, uint64_t size_bytes)
{
    uint64_t before_bytes = device->size_bytes;
    device->size_bytes = size_bytes;
    device->generation = device_next_generation(device);
    device->resized = true;
    sync_born_unsynced(&device->sync.ledger, clock_unix_ms());
    notify_device(device, NULL, SESSION_EVENT_RESIZED);
    const struct happening_detail detail = {.size_bytes = size_bytes,
                                            .generation = device->generation};
    commons_tell(device->commons, HAPPENING_RESIZED, device, NULL, &detail);
    look_log_resized(device, before_bytes);
}

/* With the mutex held. While blkd itself changes the size, and after that, the look says nothing.
 * A disk without any bytes is one that was pulled out. */
static void look_take(struct device *device, const struct look *look, int result)
{
    uint64_t size_bytes = range_round_down(look->io.value, device->granule_bytes);
    if (result == 0 && size_bytes == 0 && device->kind == DEVICE_BLOCK)
        result = -ENOMEDIUM;
    if (result < 0 && !device->looks.failed)
        look_log_failure(device, result);
    device->looks.failed = result < 0;
    if (result < 0 || !STAILQ_EMPTY(&device->tasks) || device->generation != look->generation)
        return;
    if (size_bytes != device->size_bytes)
        look_resize(device, size_bytes);
}

/* With the mutex held. */
static void look_prepare(struct device *device, struct look *look, struct io_loop *loop,
                         struct helper_share *user_share,
                         void (*on_done)(struct io *io, int result))
{
    look->busy = true;
    look->generation = device->generation;
    look->io =
        (struct io){.op = IO_LOOK, .loop = loop, .user_share = user_share, .on_done = on_done};
}

/* ---- asked for ---- */

static void on_look_letter(struct letter *letter)
{
    struct look_wait *wait = CONTAINER_OF(letter, struct look_wait, letter);
    wait->on_done(wait);
}

static void look_tell(struct look_wait_list *waits)
{
    while (!TAILQ_EMPTY(waits)) {
        struct look_wait *wait = TAILQ_FIRST(waits);
        TAILQ_REMOVE(waits, wait, link);
        wait->letter.deliver = on_look_letter;
        loop_post(&wait->loop->base, &wait->letter);
    }
}

static void on_asked_look(struct io *io, int result);

/* With the mutex held. False: nobody waits. */
static bool look_turn(struct device *device, struct io_loop *loop)
{
    struct looks *looks = &device->looks;
    struct look_wait *first = TAILQ_FIRST(&looks->next);
    looks->asked.busy = false;
    if (first == NULL)
        return false;
    TAILQ_CONCAT(&looks->current, &looks->next, link);
    look_prepare(device, &looks->asked, loop, first->user_share, on_asked_look);
    return true;
}

static void on_asked_look(struct io *io, int result)
{
    struct look *look = CONTAINER_OF(io, struct look, io);
    struct device *device = CONTAINER_OF(look, struct device, looks.asked);
    struct io_loop *loop = io->loop;
    struct look_wait_list told = TAILQ_HEAD_INITIALIZER(told);
    pthread_mutex_lock(&device->mutex);
    look_take(device, look, result);
    TAILQ_CONCAT(&told, &device->looks.current, link);
    bool again = look_turn(device, loop);
    pthread_mutex_unlock(&device->mutex);
    if (again)
        backend_submit(device->backend, &look->io);
    else
        loop_release(&loop->base);
    /* Whoever waits may be the device's last user: the device is not touched after this. */
    look_tell(&told);
}

void size_check_ask(struct device *device, struct look_wait *wait)
{
    pthread_mutex_lock(&device->mutex);
    TAILQ_INSERT_TAIL(&device->looks.next, wait, link);
    bool begin = !device->looks.asked.busy && look_turn(device, wait->loop);
    pthread_mutex_unlock(&device->mutex);
    if (begin) {
        loop_hold(&wait->loop->base);
        backend_submit(device->backend, &device->looks.asked.io);
    }
}

/* ---- each second ---- */

static void on_timed_look(struct io *io, int result)
{
    struct look *look = CONTAINER_OF(io, struct look, io);
    struct device *device = CONTAINER_OF(look, struct device, looks.timed);
    struct io_loop *loop = io->loop;
    struct user *user = device->looks.timed_user;
    struct user_table *users = device->commons->users;
    pthread_mutex_lock(&device->mutex);
    look_take(device, look, result);
    look->busy = false;
    pthread_mutex_unlock(&device->mutex);
    hold_drop(device);
    (void)user_unref(users, user);
    loop_release(&loop->base);
}

/* Whose account it goes on: that of a user of the device. NULL: nobody uses it yet, or no memory.
 * With the mutex held. */
static struct user *look_user(struct device *device)
{
    const struct session *session = TAILQ_FIRST(&device->sessions);
    return session == NULL ? NULL : user_ref(device->commons->users, session->client.peer.uid);
}

/* False: not now. The device is held; it is the look's from now on if this is true. */
static bool look_timed(struct device *device, struct io_loop *loop)
{
    struct looks *looks = &device->looks;
    struct user *user = NULL;
    pthread_mutex_lock(&device->mutex);
    if (!looks->timed.busy)
        user = look_user(device);
    if (user != NULL) {
        looks->timed_user = user;
        look_prepare(device, &looks->timed, loop, &user->look_share, on_timed_look);
    }
    pthread_mutex_unlock(&device->mutex);
    if (user == NULL)
        return false;
    loop_hold(&loop->base);
    backend_submit(device->backend, &looks->timed.io);
    return true;
}

void size_check_all(struct registry *registry, struct io_loop *loop)
{
    struct device *devices[LOOK_BATCH];
    uint64_t after = 0;
    size_t count = 0;
    while ((count = registry_hold_sound(registry, after, devices, LOOK_BATCH)) > 0) {
        after = devices[count - 1]->number;
        for (size_t i = 0; i < count; i++) {
            if (!look_timed(devices[i], loop))
                hold_drop(devices[i]);
        }
    }
}
