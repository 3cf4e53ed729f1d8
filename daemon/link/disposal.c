/* SPDX-License-Identifier: MIT */
#include "daemon/link/disposal.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/container.h"
#include "common/limits.h"
#include "daemon/base/user.h"
#include "daemon/link/worker.h"
#include "daemon/storage/backend.h"

struct disposal {
    struct helper_job job;
    struct server *server;
    struct worker *worker; /* or NULL: nobody waits for it */
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
    atomic_fetch_sub(&disposal->user->closing, 1);
    if (disposal->worker != NULL)
        loop_release(&disposal->worker->io.base);
    (void)user_unref(&disposal->server->users, disposal->user);
    free(disposal);
}

/* NULL: no memory. */
static struct disposal *disposal_new(struct server *server, struct user *user,
                                     struct backend *backend, int fd)
{
    struct disposal *disposal = calloc(1, sizeof(*disposal));
    if (disposal == NULL)
        return NULL;
    disposal->job = (struct helper_job){
        .run = on_disposal_run, .on_done = on_disposal_done, .shares = {&user->helper_share}};
    disposal->server = server;
    disposal->backend = backend;
    disposal->fd = fd;
    disposal->user = user_ref(&server->users, user->uid);
    atomic_fetch_add(&user->closing, 1);
    return disposal;
}

/* Without memory it is closed here and now: better late than leaked. */
static void disposal_start(struct worker *worker, struct user *user, struct backend *backend,
                           int fd)
{
    struct disposal *disposal = disposal_new(worker->server, user, backend, fd);
    if (disposal == NULL) {
        disposal_close(backend, fd);
        return;
    }
    disposal->worker = worker;
    loop_hold(&worker->io.base);
    loop_submit(&worker->io.base, &disposal->job);
}

/* Once nothing more can come, it is enough that nothing has come. */
bool disposal_closes_at_once(int fd)
{
    int unread = 0;
    (void)shutdown(fd, SHUT_RD);
    return ioctl(fd, SIOCINQ, &unread) < 0 || unread == 0;
}

void disposal_socket(struct server *server, uid_t uid, int fd)
{
    struct user *user = disposal_closes_at_once(fd) ? NULL : user_ref(&server->users, uid);
    struct disposal *disposal = user != NULL ? disposal_new(server, user, NULL, fd) : NULL;
    if (disposal != NULL)
        helper_submit(server->helpers, &disposal->job);
    else
        (void)close(fd);
    (void)user_unref(&server->users, user);
}

void disposal_descriptor(struct worker *worker, struct user *user, int fd)
{
    disposal_start(worker, user, NULL, fd);
}

bool disposal_is_crowded(const struct user *user)
{
    return user->uid != 0 && atomic_load(&user->closing) >= CLOSING_PER_UID_MAX;
}

void disposal_backend(struct worker *worker, struct user *user, struct backend *backend)
{
    if (backend != NULL)
        disposal_start(worker, user, backend, -1);
}
