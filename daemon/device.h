/* SPDX-License-Identifier: MIT */
/*
 * A device: the one object behind all sessions that opened the same file or block device, by
 * whatever name. It is the gate of every transfer (bounds, locks, failure), and owns lock table,
 * sync ledger and backend.
 *
 * Everything here is under `mutex` unless it says otherwise. Order of locks: registry, then device.
 */
#ifndef BLKD_DAEMON_DEVICE_H
#define BLKD_DAEMON_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "daemon/backend.h"
#include "daemon/lock.h"
#include "daemon/mailbox.h"
#include "daemon/stats.h"
#include "daemon/sync.h"

struct session;
struct user;
struct worker;
struct opening;

enum device_state {
    DEVICE_OPEN,
    DEVICE_CLOSING, /* the last session has gone; syncing */
    DEVICE_CLOSED,  /* its backend is being closed, and is nobody's to look at any more */
};

TAILQ_HEAD(device_session_list, session);
STAILQ_HEAD(device_task_queue, device_task);
STAILQ_HEAD(opening_queue, opening);

/*
 * Work on a device that must not overlap with other such work: changes of its guard and of its
 * size. Tasks start in the order of their submission, each on its own worker, when the one before
 * is done.
 */
struct device_task {
    struct worker *worker;
    void (*start)(struct device_task *task); /* on `worker` */

    struct letter letter;
    STAILQ_ENTRY(device_task) link;
};

/* One flush's part in the device's syncs; embedded in its request. */
struct device_flush {
    struct worker *worker;
    struct helper_share *user_share;                         /* of who asks; outlasts on_done */
    void (*on_done)(struct device_flush *flush, int result); /* on `worker` */

    struct sync_waiter waiter;
    struct letter letter;
    int result;
};

struct device {
    pthread_mutex_t mutex;
    UT_hash_handle hh;               /* the registry's */
    TAILQ_ENTRY(device) link;        /* the registry's, in the order of numbers */
    struct opening_queue reopeners;  /* the registry's: openers that wait until it is closed */
    struct device_identity identity; /* constant */
    uint64_t number;                 /* constant */
    char *path;                      /* constant: the name it was first opened by */
    enum device_kind kind;           /* constant */
    bool direct;                     /* constant */
    uint32_t granule_bytes;          /* constant */
    struct backend *backend;         /* constant pointer */
    enum device_state state;         /* under the registry's mutex */
    unsigned int session_count;      /* under the registry's mutex; those still opening included */
    bool read_write;
    uint64_t size_bytes;
    uint64_t generation;
    struct lock_table locks;
    struct sync_ledger sync;
    bool close_sync; /* a session with a sync level has changed something since the last sync */
    struct device_session_list sessions;
    struct device_task_queue tasks; /* the first one runs */

    /* Transfers in flight are counted by the epoch they began in, so that a shrinking resize or the
     * grant of a lock can wait for those that began before it. */
    unsigned int in_flight[2];
    unsigned int epoch;
    struct device_task *drained_by; /* waits for in_flight[1 - epoch] to end */

    struct stats retired; /* of the sessions that are gone */

    struct io sync_io; /* the sync that runs */

    /* The registry's, while the device is closed. */
    struct worker *closer;
    struct user *close_user; /* a reference: on whose share of the helper pool it is closed */
    struct device_flush close_flush;
    struct helper_job close_job;
};

/* A transfer's claim on the device, from device_begin to device_end. */
struct device_ticket {
    unsigned int epoch;
};

/* Why a transfer was refused, for a person. */
struct device_refusal {
    char text[256];
};

struct device *device_new(uint64_t number, const char *path, struct backend *backend,
                          const struct backend_info *info);
/* After its last session has gone and its backend is closed. Returns NULL. */
struct device *device_free(struct device *device);

/*
 * May the session do this now? If so, the transfer counts as in flight until device_end.
 * `end_bytes` is the end of the whole transfer that this is a part of. Returns 0, or -EROFS,
 * -EINVAL (read past the end), -ENOSPC (change past the end), -EBUSY (another session's lock), -EIO
 * (the device has failed), with the reason in *ret_refusal.
 */
int device_begin(struct device *device, struct session *session, enum io_op op, uint64_t end_bytes,
                 struct device_ticket *ret_ticket, struct device_refusal *ret_refusal);

/* May the session change anything now? Returns 0, -EBUSY or -EIO as device_begin does. With the
 * mutex held. */
int device_may_change(const struct device *device, const struct session *session,
                      struct device_refusal *ret_refusal);

/* The transfer has ended with `result`; counts it and tells the sync ledger. `fua`: a write that is
 * durable by itself. */
void device_end(struct device *device, struct session *session, enum io_op op,
                uint64_t length_bytes, bool fua, struct device_ticket ticket, int result);

/*
 * Makes everything stable that was acknowledged before now (CONTRACT S3). Returns 0: it is so
 * already; 1: flush->on_done will tell; or the negative errno that the device failed with.
 * device_sync.c
 */
int device_flush(struct device *device, struct device_flush *flush);

/* The device failed by another way than a sync (a FUA write). With the mutex held. */
void device_fail(struct device *device, int error);

void device_task_submit(struct device *device, struct device_task *task);
/* The running task has ended; the next one starts. */
void device_task_done(struct device *device, struct device_task *task);

/* For the running task: whether transfers are in flight, all of which began before now. If so,
 * `then` is called on the task's worker when they have ended; the task still runs. With the mutex
 * held. */
bool device_drain(struct device *device, struct device_task *task,
                  void (*then)(struct device_task *task));

/* Tells all sessions of the device but `except` (may be NULL). `events`: of enum session_event.
 * With the mutex held. */
void device_notify(struct device *device, const struct session *except, unsigned int events);

#endif
