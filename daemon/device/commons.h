/* SPDX-License-Identifier: MIT */
/* What all devices share. One for the daemon, a part of the registry. */
#ifndef BLKD_DAEMON_DEVICE_COMMONS_H
#define BLKD_DAEMON_DEVICE_COMMONS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "daemon/base/user.h"
#include "daemon/device/happening.h"
#include "daemon/device/tokens.h"
#include "daemon/lock/lock.h"
#include "daemon/storage/backend.h"

struct state;

/* The locks of all devices, and what grows with them. */
struct lock_domain {
    pthread_mutex_t mutex; /* of all that follows but last_generation */
    struct lock_space space;
    uint64_t last_lock;
    uint64_t last_break;
    atomic_uint_fast64_t last_generation;
};

struct commons {
    /* Constant from before the first open: the maker's to fill. */
    struct state *state;
    struct user_table *users;
    struct happening_sink *sink;
    struct io_loop **loops; /* of all threads that do I/O: each pins the guards (contract R3) */
    unsigned int loop_count;
    unsigned int locks_per_uid;

    /* Under their own mutexes. */
    struct lock_domain locks;
    struct tokens tokens;
};

/* Tells `what` has happened to the device or its session (may be NULL); see happening_sink. */
static inline void commons_tell(struct commons *commons, enum happening_what what,
                                const struct device *device, const struct session *session,
                                const struct happening_detail *detail)
{
    commons->sink->publish(commons->sink, what, device, session, detail);
}

#endif
