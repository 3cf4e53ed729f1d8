/* SPDX-License-Identifier: MIT */
/* The tasks of a device: one at a time, in their order. */
#include "daemon/device/task.h"

#include <assert.h>

#include "common/container.h"
#include "daemon/device/device.h"

static void on_task_letter(struct letter *letter)
{
    struct task *task = CONTAINER_OF(letter, struct task, letter);
    task->start(task);
}

static void task_start(struct task *task)
{
    task->letter.deliver = on_task_letter;
    loop_post(task->loop, &task->letter);
}

void task_submit(struct device *device, struct task *task)
{
    pthread_mutex_lock(&device->mutex);
    bool first = STAILQ_EMPTY(&device->tasks);
    STAILQ_INSERT_TAIL(&device->tasks, task, link);
    pthread_mutex_unlock(&device->mutex);
    if (first)
        task_start(task);
}

void task_done(struct device *device, struct task *task)
{
    pthread_mutex_lock(&device->mutex);
    assert(STAILQ_FIRST(&device->tasks) == task);
    (void)task;
    STAILQ_REMOVE_HEAD(&device->tasks, link);
    struct task *next = STAILQ_FIRST(&device->tasks);
    pthread_mutex_unlock(&device->mutex);
    if (next != NULL)
        task_start(next);
}
