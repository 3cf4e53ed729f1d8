/* SPDX-License-Identifier: MIT */
#include "daemon/link/disposal.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/container.h"
#include "daemon/base/user.h"
#include "daemon/link/worker.h"
#include "daemon/storage/backend.h"

struct disposal {
    struct helper_job job;
    struct worker *worker;
    struct user *user;
    struct backend *backend; /* or NULL */
    int fd;                  /* or -1 */
};

static void disposal_close(struct backend *backend, int fd)
{
    if (backend != NULL)
        backend_close(backend);
    if (fd >= 0)
        (void)close(fd);
}

static void on_disposal_run(struct helper_job *job)
{
    const struct disposal *disposal = CONTAINER_OF(job, struct disposal, job);
    disposal_close(disposal->backend, disposal->fd);
}

static void on_disposal_done(struct helper_job *job)
{
    struct disposal *disposal = CONTAINER_OF(job, struct disposal, job);
    loop_release(&disposal->worker->io.base);
    (void)user_unref(&disposal->worker->server->users, disposal->user);
    free(disposal);
}

/* Without memory it is closed here and now: better late than leaked. */
static void disposal_start(struct worker *worker, struct user *user, struct backend *backend,
                           int fd)
{
    struct disposal *disposal = calloc(1, sizeof(*disposal));
    if (disposal == NULL) {
        disposal_close(backend, fd);
        return;
    }
    disposal->job = (struct helper_job){.run = on_disposal_run, .on_done = on_disposal_done};
    disposal->worker = worker;
    disposal->backend = backend;
    disposal->fd = fd;
    disposal->user = user_ref(&worker->server->users, user->uid);
    disposal->job.shares[0] = &user->helper_share;
    loop_hold(&worker->io.base);
    loop_submit(&worker->io.base, &disposal->job);
}

void disposal_descriptor(struct worker *worker, struct user *user, int fd)
{
    disposal_start(worker, user, NULL, fd);
}

void disposal_backend(struct worker *worker, struct user *user, struct backend *backend)
{
    if (backend != NULL)
        disposal_start(worker, user, backend, -1);
}
