/* SPDX-License-Identifier: MIT */
#include "daemon/link/piece.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "daemon/base/sigbus.h"
#include "daemon/base/user.h"
#include "daemon/link/worker.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static int piece_open(void)
{
    int fd = memfd_create("blkd", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("blkd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

/* Allocated here and now, so that no later touch can fail for want of memory. */
static int piece_allocate(struct piece *piece)
{
    CLEANUP_CLOSE int fd = piece_open();
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)piece->size_bytes) < 0 ||
        fallocate(fd, 0, 0, (off_t)piece->size_bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    void *base =
        mmap(NULL, piece->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    piece->area = sigbus_watch(base, piece->size_bytes);
    if (piece->area == NULL) {
        (void)munmap(base, piece->size_bytes);
        return -ENOMEM;
    }
    /* No core dump shows what clients read and write. */
    (void)madvise(base, piece->size_bytes, MADV_DONTDUMP);
    piece->base = base;
    piece->fd = TAKE_FD(fd);
    return 0;
}

static void piece_free(struct piece *piece)
{
    struct user_table *users = &piece->worker->server->users;
    user_remove_memory(users, piece->user, piece->size_bytes);
    piece->user = user_unref(users, piece->user);
    loop_release(&piece->worker->io.base);
    free(piece);
}

static void on_piece_make(struct helper_job *job)
{
    struct piece *piece = CONTAINER_OF(job, struct piece, job);
    piece->error = piece_allocate(piece);
}

static void on_piece_made(struct helper_job *job)
{
    struct piece *piece = CONTAINER_OF(job, struct piece, job);
    int error = piece->error;
    piece->on_made(piece, piece->user_data, error);
    if (error < 0)
        piece_free(piece);
}

int piece_make(struct worker *worker, struct user *user, struct helper_share *share,
               size_t size_bytes, void (*on_made)(struct piece *piece, void *user_data, int error),
               void *user_data)
{
    struct user_table *users = &worker->server->users;
    uint64_t limit = worker->server->limits.arena_mib_per_uid * (UINT64_C(1) << 20);
    int error = user_add_memory(users, user, size_bytes, limit);
    if (error < 0)
        return error;
    struct piece *piece = calloc(1, sizeof(*piece));
    if (piece == NULL) {
        user_remove_memory(users, user, size_bytes);
        return -ENOMEM;
    }
    piece->worker = worker;
    piece->user = user_ref(users, user->uid);
    piece->size_bytes = size_bytes;
    piece->fd = -1;
    piece->on_made = on_made;
    piece->user_data = user_data;
    piece->job =
        (struct helper_job){.run = on_piece_make, .on_done = on_piece_made, .shares = {share}};
    loop_hold(&worker->io.base);
    loop_submit(&worker->io.base, &piece->job);
    return 0;
}

/* A daemon that stops leaves the pages to the clients that still have them mapped: they may hold
 * what has yet to be written, and there is no quota any more. */
static void on_piece_give_back(struct helper_job *job)
{
    struct piece *piece = CONTAINER_OF(job, struct piece, job);
    if (!piece->keep_pages)
        (void)fallocate(piece->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                        (off_t)piece->size_bytes);
    piece->area = sigbus_unwatch(piece->area);
    (void)munmap(piece->base, piece->size_bytes);
    (void)close(piece->fd);
}

static void on_piece_given_back(struct helper_job *job)
{
    piece_free(CONTAINER_OF(job, struct piece, job));
}

void piece_give_back(struct piece *piece)
{
    if (piece == NULL)
        return;
    piece->keep_pages = piece->worker->stopping;
    piece->job = (struct helper_job){.run = on_piece_give_back, .on_done = on_piece_given_back};
    loop_submit(&piece->worker->io.base, &piece->job);
}
