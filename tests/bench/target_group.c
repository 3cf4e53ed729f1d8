/* SPDX-License-Identifier: MIT */
/*
 * What a database does that commits much on a file of its own: pread and pwrite, and one fdatasync
 * for all of its threads that wait for one (group commit). While one runs, those who come wait for
 * the next.
 *
 * All clients of this target share one group: they are threads with descriptors of one file.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/target.h"

struct group {
    struct target target;
    int fd;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    uint64_t asked; /* flushes that have come */
    uint64_t done;  /* up to this one they are durable */
    bool running;
    int error; /* of the last sync */
} commits = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

/* With the mutex held, which is let go of meanwhile. */
static void group_sync(int fd)
{
    uint64_t covering = commits.asked;
    commits.running = true;
    pthread_mutex_unlock(&commits.mutex);
    int error = fdatasync(fd) < 0 ? -errno : 0;
    pthread_mutex_lock(&commits.mutex);
    commits.running = false;
    commits.error = error;
    commits.done = covering;
    pthread_cond_broadcast(&commits.ended);
}

static int group_commit(int fd)
{
    pthread_mutex_lock(&commits.mutex);
    uint64_t mine = ++commits.asked;
    while (commits.done < mine) {
        if (commits.running)
            pthread_cond_wait(&commits.ended, &commits.mutex);
        else
            group_sync(fd);
    }
    int error = commits.error;
    pthread_mutex_unlock(&commits.mutex);
    return error;
}

static int group_open(const struct target_options *options, struct target **ret_target)
{
    CLEANUP_FREE struct group *group = calloc(1, sizeof(*group));
    if (!group)
        return -ENOMEM;
    int r = target_open_file(options, &group->fd, &group->target.size_bytes);
    if (r < 0)
        return r;
    group->target.type = &target_group;
    group->target.granule_bytes = 1;
    *ret_target = &TAKE_PTR(group)->target;
    return 0;
}

static int group_submit(struct target *target, struct op *op)
{
    int fd = ((struct group *)target)->fd;
    bool transfer = op->kind == OP_READ || op->kind == OP_WRITE;
    op_complete(op, transfer ? target_transfer_file(fd, op) : group_commit(fd));
    return 0;
}

static int group_wait(struct target *target)
{
    (void)target;
    return 0;
}

static void group_close(struct target *target)
{
    (void)close(((struct group *)target)->fd);
    free(target);
}

const struct target_type target_group = {
    .scheme = "group",
    .open = group_open,
    .submit = group_submit,
    .wait = group_wait,
    .close = group_close,
};
