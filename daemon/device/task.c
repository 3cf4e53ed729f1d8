/* SPDX-License-Identifier: MIT */
/* The tasks of a device: one at a time, in their order. */
#include <assert.h>

#include "common/container.h"
#include "daemon/device/device.h"
#include "daemon/link/worker.h"

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
    (void)task;
    STAILQ_REMOVE_HEAD(&device->tasks, link);
    struct device_task *next = STAILQ_FIRST(&device->tasks);
    pthread_mutex_unlock(&device->mutex);
    if (next != NULL)
        device_task_start(next);
}
