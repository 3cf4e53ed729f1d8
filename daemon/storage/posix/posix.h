/* SPDX-License-Identifier: MIT */
/*
 * Files and block devices; for this room only. Three kinds of descriptor:
 *
 * - cursor: from first open to close. Every sync goes through it: the kernel reports a lost write
 * once to each descriptor that was open when it was lost.
 * - data: what I/O is done on. A second one comes when a device that was opened read-only is
 * adopted read/write.
 * - guard: while a lock is held, carries flock and QEMU's byte locks; beside it, on block devices
 * that are locked exclusively, one with O_EXCL. The kernel zeroes the device through that one only.
 *
 * How reads and writes go is decided at open (ARCHITECTURE.md): inline on the worker where that
 * cannot block, with RWF_NOWAIT where it can be tried without blocking, else by the engine.
 */
#ifndef BLKD_DAEMON_STORAGE_POSIX_POSIX_H
#define BLKD_DAEMON_STORAGE_POSIX_POSIX_H

#include <pthread.h>
#include <stdatomic.h>

#include "daemon/storage/backend.h"
#include "daemon/storage/posix/calls.h"

enum posix_way {
    POSIX_INLINE, /* memory: cannot block */
    POSIX_NOWAIT, /* inline with RWF_NOWAIT, on EAGAIN the engine */
    POSIX_ENGINE,
};

/* What an engine keeps of the guard. */
struct posix_pin {
    struct engine *engine; /* NULL: free */
    struct engine_pin pin;
};

struct posix {
    struct backend base;
    const struct posix_calls *calls; /* constant */
    enum device_kind kind;
    struct device_identity identity;
    bool direct;
    bool memory;      /* tmpfs, ramfs */
    bool keeps_dsync; /* RWF_DSYNC is allowed, and a write and a sync, however it is submitted */
    bool punts; /* the engine may not rely on it that a transfer never blocks where it is begun */
    int cursor_fd;
    int read_only_fd; /* the data descriptor of before an adoption; or -1 */
    atomic_int data_fd;
    /* Changed by the guard's task only (one at a time for a device) and under guard_mutex; others
     * look at them under guard_mutex. */
    pthread_mutex_t guard_mutex;
    int guard_fd;               /* or -1 */
    int exclusive_fd;           /* or -1 */
    enum guard_mode guard_mode; /* the guard's task only */
    struct posix_pin pins[WORKERS_MAX];
    _Atomic enum posix_way reads;
    _Atomic enum posix_way writes;
    atomic_uint read_misses; /* reads that the engine does because the cache did not have them */
    /* Zeroings and resizes submitted and not done: a write would wait for them on the worker, as
     * long as it takes to free gigabytes, so it goes to the engine meanwhile. */
    atomic_uint changes;
    _Atomic enum discard_method discard;
    struct engine_target target;
};

static inline struct posix *posix_of(struct backend *backend)
{
    return (struct posix *)(void *)backend;
}

/* open.c */
int posix_adopt(struct backend *backend, struct backend *donor);
void posix_close(struct backend *backend);

/* io.c */
void posix_submit(struct backend *backend, struct io *io);
bool posix_writes_inline(const struct backend *backend);
enum discard_method posix_discard_method(const struct backend *backend);
const char *posix_policy(const struct backend *backend);

/* Sleeps so long: on a helper thread. */
void posix_delay(uint64_t delay_us);

/* The verbs that can block, on a helper thread; each returns io->result. */
/* blocking.c */
int posix_do_sync(struct posix *posix, const struct io *io);
int posix_do_resize(struct posix *posix, const struct io *io);
int posix_do_seek(struct posix *posix, struct io *io);
int posix_do_look(struct posix *posix, struct io *io);
/* cache.c */
int posix_do_drop(struct posix *posix, const struct io *io);
int posix_do_refresh(struct posix *posix);
/* zero.c */
int posix_do_zero(struct posix *posix, struct io *io);
/* guard.c */
int posix_do_guard(struct posix *posix, struct io *io);
void posix_pin(struct backend *backend, struct engine *engine);
void posix_unpin(struct backend *backend, struct engine *engine);
/* Another descriptor of the one with O_EXCL, for as long as a zeroing takes, so that its number is
 * not another file's when the guard changes meanwhile. -1: there is none. */
int posix_dup_exclusive(struct posix *posix);

#endif
