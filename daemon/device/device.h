/* SPDX-License-Identifier: MIT */
/*
 * A device: the one object behind all sessions that opened the same file or block device, by
 * whatever name. It is the gate of every transfer (bounds, locks, failure), and owns lock table,
 * sync ledger and backend.
 *
 * Everything here is under `mutex` unless it says otherwise. Order of mutexes: registry, lock
 * domain (device_lock.h), devices. Two devices' at once only with the lock domain's held.
 */
#ifndef BLKD_DAEMON_DEVICE_DEVICE_H
#define BLKD_DAEMON_DEVICE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "daemon/base/mailbox.h"
#include "daemon/device/look.h"
#include "daemon/device/stats.h"
#include "daemon/lock/lock.h"
#include "daemon/state/state.h"
#include "daemon/storage/backend.h"
#include "daemon/sync/sync.h"

struct lock_domain;
struct server;
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

TAILQ_HEAD(device_drain_queue, device_drain);
TAILQ_HEAD(guard_wait_queue, guard_wait);

/*
 * Work on a device that must not overlap with other such work: changes of its size. Tasks start in
 * the order of their submission, each on its own worker, when the one before is done.
 */
struct device_task {
    struct worker *worker;
    void (*start)(struct device_task *task); /* on `worker` */

    struct letter letter;
    STAILQ_ENTRY(device_task) link;
};

/* Waits until all that is in flight has ended that had begun before; device_drain.c. */
struct device_drain {
    struct worker *worker;
    void (*on_done)(struct device_drain *drain); /* on `worker` */
    void *user_data;

    struct letter letter;
    TAILQ_ENTRY(device_drain) link;
};

/* What is in flight, of a device or of a session, counted by the epoch it began in. Under the
 * device's mutex. */
struct drain_gate {
    unsigned int in_flight[2];
    unsigned int epoch;
    struct device_drain_queue drains; /* the first waits for in_flight[1 - epoch] to end */
};

/*
 * Somebody who waits until the outside world is kept out as the lock table now demands, or is not
 * any more; device_guard.c.
 */
struct guard_wait {
    struct worker *worker;
    struct helper_share *user_share; /* outlasts on_done; may be NULL */
    /* On `worker`. `kept` is what the outside world is kept out in, `result` the negative errno of
     * an attempt to keep it out more strongly, with the reason in `message`. */
    void (*on_done)(struct guard_wait *wait, enum lock_mode kept, int result);
    char message[BACKEND_MESSAGE_MAX];

    struct device *device;
    struct letter letter;
    TAILQ_ENTRY(guard_wait) link;
    enum lock_mode kept;
    int result;
};

/* One worker's part in a change of the guard. */
struct guard_pin {
    struct device *device;
    struct worker *worker;
    struct letter letter;
};

/* What keeps the outside world out, and the change that is under way. */
struct device_guard {
    enum lock_mode kept;
    enum lock_mode target;                 /* of the change */
    bool busy;                             /* one is under way */
    bool pinned_any;                       /* engines keep it */
    unsigned int pins_left;                /* workers that have not answered yet */
    void (*pinned)(struct device *device); /* when they have */
    struct guard_wait_queue waits;         /* for the next change */
    struct guard_wait_queue current;       /* for this one; the first one's worker does it */
    struct io io;
    int result;
    char message[BACKEND_MESSAGE_MAX];
    struct guard_pin *pins; /* one for each worker */
    unsigned int pin_count;
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
    struct state_key key;            /* constant: how it is remembered across restarts */
    struct lock_domain *domain;      /* constant */
    struct server *server;           /* constant */
    uint64_t number;                 /* constant */
    char *path;                      /* constant: the name it was first opened by */
    enum device_kind kind;           /* constant */
    bool direct;                     /* constant */
    bool volatile_storage;           /* constant: nothing of it survives a power cut */
    uint32_t granule_bytes;          /* constant */
    struct backend *backend;         /* constant pointer */
    enum device_state state;         /* under the registry's mutex */
    unsigned int session_count;      /* under the registry's mutex; those still opening included */
    atomic_uint holds;               /* the registry's: what keeps it open besides sessions */
    bool read_write;
    uint64_t size_bytes;
    uint64_t generation;
    bool resized; /* since it was opened */
    struct device_looks looks;

    struct lock_table locks; /* lock.h says under which mutexes */
    /* The open devices that share bytes with it, under the lock domain's mutex, and the identities
     * of all that do (constant). */
    struct device *related[BACKEND_RELATED_MAX];
    unsigned int related_count;
    struct device_identity *related_identities;
    size_t related_identity_count;
    struct device_guard guard;

    struct sync_ledger sync;
    bool close_sync; /* a session with a sync level has changed something since the last sync */
    struct device_session_list sessions;
    struct device_task_queue tasks; /* the first one runs */

    struct drain_gate transfers; /* and resizes, in flight */

    struct stats retired; /* of the sessions that are gone */

    struct io sync_io; /* the sync that runs */
    uint64_t sync_began_ns;
    bool failure_kept; /* the mark of its failure is on its way, or there */
    struct helper_job failure_job;
    struct worker *failure_worker;
    struct sync_waiter_list failure_answers; /* they wait for the mark */

    /* The registry's, while the device is closed. */
    struct worker *closer;
    bool close_waits; /* under the registry's mutex: for the last hold */
    struct letter close_letter;
    struct user *close_user; /* a reference: on whose share of the helper pool it is closed */
    struct device_flush close_flush;
    struct helper_job close_job;
};

/* A transfer's claim on the device, from device_begin to device_end. */
struct device_ticket {
    unsigned int device_epoch;
    unsigned int session_epoch;
};

/* Why a transfer was refused, for a person. */
struct device_refusal {
    bool bounds; /* it goes past the end, as far as is known */
    char text[256];
};

/* NULL: no memory. Knows by the state directory whether it has failed before. */
struct device *device_new(struct server *server, uint64_t number, const char *path,
                          struct backend *backend, const struct backend_info *info);
/* After its last session has gone and its backend is closed. Returns NULL. */
struct device *device_free(struct device *device);

/*
 * May the session do this now? If so, the transfer counts as in flight until device_end.
 * `end_bytes` is the end of the whole transfer that this is a part of. Returns 0, or -EROFS,
 * -EINVAL (read past the end), -ENOSPC (change past the end), -EBUSY (another session's lock),
 * -ESTALE (the session's lock was broken), -EIO (the device has failed), with the reason in
 * *ret_refusal.
 */
int device_begin(struct device *device, struct session *session, enum io_op op,
                 uint64_t offset_bytes, uint64_t end_bytes, struct device_ticket *ret_ticket,
                 struct device_refusal *ret_refusal);

/* May the session change these bytes now? Returns 0, -EBUSY, -ESTALE or -EIO as device_begin does.
 * With the mutex held. */
int device_may_change(const struct device *device, const struct session *session,
                      struct lock_range range, struct device_refusal *ret_refusal);

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
void device_fail(struct device *device, struct worker *worker, int error);

/* Whether the mark of the device's failure is still on its way to the disk; if so, wait->on_done
 * follows when it is there: who is to be told of the failure waits for that. device_sync.c */
bool device_await_mark(struct device *device, struct device_flush *wait);

/* device_task.c */
void device_task_submit(struct device *device, struct device_task *task);
/* The running task has ended; the next one starts. */
void device_task_done(struct device *device, struct device_task *task);

/* device_drain.c; with the device's mutex held. */
void drain_gate_init(struct drain_gate *gate);
/* Something begins; the epoch is given back when it has ended. */
unsigned int drain_gate_enter(struct drain_gate *gate);
void drain_gate_leave(struct drain_gate *gate, unsigned int epoch);
unsigned int drain_gate_count(const struct drain_gate *gate);
/* Whether anything is in flight, all of which began before now; if so, drain->on_done follows when
 * that has ended. */
bool drain_gate_wait(struct drain_gate *gate, struct device_drain *drain);

/* A resize begins and ends: it counts as a transfer does. With the mutex held. */
void device_enter(struct device *device, struct session *session, struct device_ticket *ret_ticket);
void device_leave(struct device *device, struct session *session, struct device_ticket ticket);

/*
 * The locks have changed: sees to it that the outside world is kept out as they now demand, as well
 * as it can, and tells `wait`, always later. Without the lock domain's mutex and any device's.
 * device_guard.c
 */
void device_guard_settle(struct device *device, struct guard_wait *wait);

/* Tells all sessions of the device but `except` (may be NULL). `events`: of enum session_event.
 * With the mutex held. */
void device_notify(struct device *device, const struct session *except, unsigned int events);

/* The locks of the two conflict from now on, because they share bytes. 0, or -EDQUOT: too many
 * relations. With the registry's mutex held. */
int device_relate(struct device *device, struct device *other);
/* Ends that with all of them, when it has no locks any more. */
void device_unrelate(struct device *device);

/* A number greater than any generation that any device of this daemon had before. */
uint64_t device_next_generation(struct device *device);

#endif
