/* SPDX-License-Identifier: MIT */
#include "daemon/device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "daemon/session.h"
#include "daemon/worker.h"

struct device *device_new(uint64_t number, const char *path, struct backend *backend,
                          const struct backend_info *info)
{
    struct device *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return NULL;
    device->path = strdup(path);
    if (device->path == NULL) {
        free(device);
        return NULL;
    }
    (void)pthread_mutex_init(&device->mutex, NULL);
    STAILQ_INIT(&device->reopeners);
    device->identity = info->identity;
    device->number = number;
    device->kind = info->kind;
    device->direct = info->direct;
    device->granule_bytes = info->granule_bytes;
    device->backend = backend;
    device->read_write = info->read_write;
    device->size_bytes = info->size_bytes;
    device->generation = 1;
    lock_table_init(&device->locks);
    sync_init(&device->sync);
    TAILQ_INIT(&device->sessions);
    STAILQ_INIT(&device->tasks);
    return device;
}

struct device *device_free(struct device *device)
{
    if (device == NULL)
        return NULL;
    assert(TAILQ_EMPTY(&device->sessions) && STAILQ_EMPTY(&device->tasks));
    (void)pthread_mutex_destroy(&device->mutex);
    free(device->path);
    free(device);
    return NULL;
}

static int device_refuse(struct device_refusal *refusal, int error, const char *reason)
{
    (void)snprintf(refusal->text, sizeof(refusal->text), "%s", reason);
    return error;
}

static int device_refuse_bounds(const struct device *device, enum io_op op, uint64_t end_bytes,
                                struct device_refusal *refusal)
{
    (void)snprintf(refusal->text, sizeof(refusal->text),
                   "it ends at %llu, past the device's end at %llu bytes; nothing was transferred",
                   (unsigned long long)end_bytes, (unsigned long long)device->size_bytes);
    return op == IO_READ ? -EINVAL : -ENOSPC;
}

static int device_refuse_lock(const struct lock_owner *holder, struct device_refusal *refusal)
{
    const struct session *session = CONTAINER_OF_CONST(holder, struct session, lock);
    char who[160];
    session_describe(session, who, sizeof(who));
    (void)snprintf(refusal->text, sizeof(refusal->text), "%s holds the %s lock", who,
                   lock_mode_name(holder->mode));
    return -EBUSY;
}

int device_may_change(const struct device *device, const struct session *session,
                      struct device_refusal *refusal)
{
    const struct lock_owner *holder = NULL;
    if (device->sync.failed != 0)
        return device_refuse(refusal, -EIO,
                             "an earlier sync of the device failed, so data is already lost: "
                             "nothing is written to it any more");
    if (lock_may_write(&device->locks, &session->lock, &holder) < 0)
        return device_refuse_lock(holder, refusal);
    return 0;
}

static int device_check(const struct device *device, const struct session *session, enum io_op op,
                        uint64_t end_bytes, struct device_refusal *refusal)
{
    if (end_bytes > device->size_bytes)
        return device_refuse_bounds(device, op, end_bytes, refusal);
    return op == IO_READ ? 0 : device_may_change(device, session, refusal);
}

int device_begin(struct device *device, struct session *session, enum io_op op, uint64_t end_bytes,
                 struct device_ticket *ret_ticket, struct device_refusal *ret_refusal)
{
    pthread_mutex_lock(&device->mutex);
    int error = device_check(device, session, op, end_bytes, ret_refusal);
    if (error == 0) {
        ret_ticket->epoch = device->epoch;
        device->in_flight[device->epoch]++;
        session->in_flight++;
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

static void device_ledger(struct device *device, const struct session *session, bool fua,
                          int result)
{
    if (result == 0 && fua)
        sync_changed_durably(&device->sync);
    else
        sync_changed(&device->sync);
    if (session->asked.sync != SESSION_SYNC_NONE)
        device->close_sync = true;
    if (fua && result == -EIO)
        device_fail(device, result);
}

void device_end(struct device *device, struct session *session, enum io_op op,
                uint64_t length_bytes, bool fua, struct device_ticket ticket, int result)
{
    struct device_task *drained = NULL;
    pthread_mutex_lock(&device->mutex);
    session->in_flight--;
    device_count(&session->stats, op, length_bytes, result);
    if (op != IO_READ)
        device_ledger(device, session, fua, result);
    assert(device->in_flight[ticket.epoch] > 0);
    if (--device->in_flight[ticket.epoch] == 0 && ticket.epoch != device->epoch) {
        drained = device->drained_by;
        device->drained_by = NULL;
    }
    pthread_mutex_unlock(&device->mutex);
    if (drained != NULL)
        mailbox_post(&drained->worker->mailbox, &drained->letter);
}

static void on_task_letter(struct letter *letter)
{
    struct device_task *task = CONTAINER_OF(letter, struct device_task, letter);
    task->start(task);
}

static void device_task_start(struct device_task *task)
{
    task->letter.deliver = on_task_letter;
    mailbox_post(&task->worker->mailbox, &task->letter);
}

void device_task_submit(struct device *device, struct device_task *task)
{
    pthread_mutex_lock(&device->mutex);
    bool first = STAILQ_EMPTY(&device->tasks);
    STAILQ_INSERT_TAIL(&device->tasks, task, link);
    pthread_mutex_unlock(&device->mutex);
    if (first)
        device_task_start(task);
}

void device_task_done(struct device *device, struct device_task *task)
{
    pthread_mutex_lock(&device->mutex);
    assert(STAILQ_FIRST(&device->tasks) == task);
    STAILQ_REMOVE_HEAD(&device->tasks, link);
    struct device_task *next = STAILQ_FIRST(&device->tasks);
    pthread_mutex_unlock(&device->mutex);
    if (next != NULL)
        device_task_start(next);
}

bool device_drain(struct device *device, struct device_task *task,
                  void (*then)(struct device_task *task))
{
    assert(STAILQ_FIRST(&device->tasks) == task && device->drained_by == NULL);
    device->epoch = 1 - device->epoch;
    if (device->in_flight[1 - device->epoch] == 0)
        return false;
    task->start = then;
    device->drained_by = task;
    return true;
}

void device_notify(struct device *device, const struct session *except, unsigned int events)
{
    struct session *session = NULL;
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (session == except)
            continue;
        session->events |= events;
        if (!session->events_posted) {
            session->events_posted = true;
            mailbox_post(&session->worker->mailbox, &session->event_letter);
        }
    }
}
