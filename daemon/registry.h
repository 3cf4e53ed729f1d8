/* SPDX-License-Identifier: MIT */
/*
 * All devices, by identity, and all sessions, by number: what `ls` and `sessions` show, and where
 * an open finds out that somebody has the device already. A device whose last session has gone is
 * closed here.
 */
#ifndef BLKD_DAEMON_REGISTRY_H
#define BLKD_DAEMON_REGISTRY_H

#include <pthread.h>

#include "daemon/device.h"

TAILQ_HEAD(device_list, device);
TAILQ_HEAD(session_list, session);

struct registry {
    pthread_mutex_t mutex;
    struct device *by_identity;
    struct device_list devices;   /* in the order of their numbers */
    struct session_list sessions; /* in the order of their numbers */
    uint64_t last_device;
    uint64_t last_session;
    uint64_t resized; /* devices that were closed with another size than they were opened with */
};

void registry_init(struct registry *registry);
void registry_deinit(struct registry *registry);

/* After the last release: whether a device failed, so that acknowledged writes may be lost. */
bool registry_has_failed(struct registry *registry);

enum registry_verdict {
    REGISTRY_NEW,      /* the device did not exist; it took the backend */
    REGISTRY_EXISTING, /* it exists; the backend is still the caller's */
    REGISTRY_WAIT,  /* it is being closed: `opening` is queued and will be told (opening_retry) */
    REGISTRY_STALE, /* a device was resized and closed since `opening->resized`: look again */
    REGISTRY_NO_MEMORY,
};

/* Finds or makes the device of `info`'s identity and counts one session more on it. */
enum registry_verdict registry_claim(struct registry *registry, struct opening *opening,
                                     const char *path, struct backend *backend,
                                     const struct backend_info *info, struct device **ret_device);

/* To be asked for before the size of what is opened is. */
uint64_t registry_resized(struct registry *registry);

uint64_t registry_next_session(struct registry *registry);

/* Makes the session visible, in the order of the numbers. */
void registry_add_session(struct registry *registry, struct session *session);
void registry_remove_session(struct registry *registry, struct session *session);

/*
 * Takes back one registry_claim. When it was the last one, the device is synced if something
 * unsynced was written to it (CONTRACT S7), closed and forgotten, all of it later, on `worker` and
 * on `user`'s share of the helper pool.
 */
void registry_release(struct registry *registry, struct device *device, struct worker *worker,
                      struct user *user);

#endif
