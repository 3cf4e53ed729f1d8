/* SPDX-License-Identifier: MIT */
/*
 * Work on a device that must not overlap with other such work: changes of its size. Tasks start in
 * the order of their submission, each on its own loop, when the one before is done.
 */
#ifndef BLKD_DAEMON_DEVICE_TASK_H
#define BLKD_DAEMON_DEVICE_TASK_H

#include <sys/queue.h>

#include "daemon/base/loop.h"

struct device;

struct task {
    struct loop *loop;
    void (*start)(struct task *task); /* on `loop` */

    struct letter letter;
    STAILQ_ENTRY(task) link;
};

STAILQ_HEAD(task_queue, task);

/* Both without the device's mutex. */
void task_submit(struct device *device, struct task *task);
/* The running task has ended; the next one starts. */
void task_done(struct device *device, struct task *task);

#endif
