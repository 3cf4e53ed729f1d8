/* SPDX-License-Identifier: MIT */
/*
 * A device: the one object behind all sessions that opened the same file or block device, by
 * whatever name. It is made of parts that have files of their own: who may transfer (gate.h), what
 * is on stable storage (flush.h), what keeps the outside world out (guard.h), and so on.
 *
 * Order of mutexes: registry, lock domain (commons.h), devices. Two devices' at once only with the
 * lock domain's held.
 */
#ifndef BLKD_DAEMON_DEVICE_DEVICE_H
#define BLKD_DAEMON_DEVICE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "daemon/device/commons.h"
#include "daemon/device/drain.h"
#include "daemon/device/flush.h"
#include "daemon/device/guard.h"
#include "daemon/device/relations.h"
#include "daemon/device/size_check.h"
#include "daemon/device/stats.h"
#include "daemon/device/task.h"
#include "daemon/lock/lock.h"
#include "daemon/state/state.h"
#include "daemon/storage/backend.h"

struct claim;
struct session;
struct user;

enum device_state {
    DEVICE_OPEN,
    DEVICE_CLOSING, /* the last session has gone; syncing */
    DEVICE_CLOSED,  /* its backend is being closed, and is nobody's to look at any more */
};

TAILQ_HEAD(device_session_list, session);
STAILQ_HEAD(claim_queue, claim);

/* The device as the registry keeps it; under the registry's mutex. */
struct registration {
    TAILQ_ENTRY(device) link;   /* in the order of numbers */
    struct claim_queue waiting; /* openers that wait until it is closed */
    enum device_state state;
    unsigned int session_count; /* those still opening included */
    atomic_uint holds;          /* what keeps it open besides sessions; any thread adds */
};

/* How the device is closed, by whose session was the last: on that one's loop. */
struct closing {
    struct io_loop *loop;
    struct user *user; /* a reference: on whose share of the helper pool it is closed */
    bool waits;        /* for the last hold; under the registry's mutex */
    struct letter letter;
    struct flush flush;
    struct helper_job job;
};

struct device {
    /* Constant. */
    struct commons *commons;
    struct device_identity identity;
    struct state_key key; /* how it is remembered across restarts */
    struct backend_place place;
    uint64_t number;
    char *path; /* the name it was first opened by */
    enum device_kind kind;
    bool direct;
    bool volatile_storage; /* nothing of it survives a power cut */
    uint32_t granule_bytes;
    struct backend *backend;

    /* The registry's. */
    UT_hash_handle hh;
    struct registration registration;
    struct closing closing;

    pthread_mutex_t mutex; /* of all that follows, unless its type says otherwise */
    bool read_write;
    uint64_t size_bytes;
    uint64_t generation;
    bool resized; /* since it was opened */
    struct looks looks;
    struct lock_table locks; /* lock/lock.h says under which mutexes */
    struct relations relations;
    struct guard guard;
    struct flushing sync;
    struct device_session_list sessions;
    struct task_queue tasks;     /* the first one runs */
    struct drain_gate transfers; /* and resizes, in flight */
    struct stats retired;        /* of the sessions that are gone */
};

/* NULL: no memory. Knows by the state directory whether it has failed before. */
struct device *device_new(struct commons *commons, uint64_t number, const char *path,
                          struct backend *backend, const struct backend_info *info);
/* After its last session has gone and its backend is closed. Returns NULL. */
struct device *device_free(struct device *device);

/* The key in the state directory of what a backend has named so. */
void device_state_key(const struct backend_key *key, struct state_key *ret_key);

/* A number greater than any generation that any device of this daemon had before. */
uint64_t device_next_generation(struct device *device);

#endif
