/* SPDX-License-Identifier: MIT */
/*
 * All devices, by identity, and all sessions, by number: what `ls` and `sessions` show, and where
 * an open finds out that somebody has the device already. A device whose last session has gone is
 * closed here.
 */
#ifndef BLKD_DAEMON_DEVICE_REGISTRY_H
#define BLKD_DAEMON_DEVICE_REGISTRY_H

#include <pthread.h>

#include "daemon/device/device.h"

struct session_ending;

TAILQ_HEAD(device_list, device);
TAILQ_HEAD(session_list, session);

/* An open on its way, above this room. */
struct claim {
    struct loop *loop;
    uint64_t resized;                      /* registry_resized before it looked at the size */
    void (*on_retry)(struct claim *claim); /* on `loop`: the device that it waited for is closed */

    struct letter letter;
    STAILQ_ENTRY(claim) link;
};

struct registry {
    struct commons commons;
    pthread_mutex_t mutex; /* of all that follows */
    struct device *by_identity;
    struct device_list devices;   /* in the order of their numbers */
    struct session_list sessions; /* in the order of their numbers */
    uint64_t last_device;
    uint64_t last_session;
    uint64_t resized; /* devices that were closed with another size than they were opened with */
};

/* `commons`: what its maker fills (commons.h); copied. */
void registry_init(struct registry *registry, const struct commons *commons);
void registry_deinit(struct registry *registry);

/* After the last release: whether a device failed, so that acknowledged writes may be lost. */
bool registry_has_failed(struct registry *registry);

enum registry_verdict {
    REGISTRY_NEW,      /* the device did not exist; it took the backend */
    REGISTRY_EXISTING, /* it exists; the backend is still the caller's */
    REGISTRY_WAIT,     /* it is being closed: the claim is queued, on_retry follows */
    REGISTRY_STALE,    /* a device was resized and closed since `claim->resized`: look again */
    REGISTRY_NO_MEMORY,
    REGISTRY_CROWDED, /* it shares bytes with too many open devices */
};

/* Finds or makes the device of `info`'s identity and counts one session more on it. */
enum registry_verdict registry_claim(struct registry *registry, struct claim *claim,
                                     const char *path, struct backend *backend,
                                     const struct backend_info *info, struct device **ret_device);

/* Counts one session more on the device of this number, also on one that is kept because it failed.
 * 0; -ENODEV: there is none; -EAGAIN: it is being closed. */
int registry_claim_number(struct registry *registry, uint64_t number, struct device **ret_device);

/* To be asked for before the size of what is opened is. */
uint64_t registry_resized(struct registry *registry);

uint64_t registry_next_session(struct registry *registry);

/* Makes the session visible, in the order of the numbers. */
void registry_add_session(struct registry *registry, struct session *session);
void registry_remove_session(struct registry *registry, struct session *session);

/* Has the session closed on its loop; `ending` is told when it is gone. False: there is none. */
bool registry_evict(struct registry *registry, uint64_t number, struct session_ending *ending);

/*
 * Takes back one registry_claim. When it was the last one, the device is synced if something
 * unsynced was written to it (contract S7), closed and forgotten, all of it later, on `loop` and on
 * `user`'s share of the helper pool.
 */
void registry_release(struct registry *registry, struct device *device, struct io_loop *loop,
                      struct user *user);

/* Finds an open device by its number and holds it. NULL: there is none. */
struct device *registry_find(struct registry *registry, uint64_t number);

/* Holds open devices with numbers greater than `after` that have not failed, at most `max`; how
 * many. */
size_t registry_hold_sound(struct registry *registry, uint64_t after, struct device **ret_devices,
                           size_t max);

/* The device with this identity, if its backend is open; NULL: there is none. With the registry's
 * mutex held. */
struct device *registry_look_up(struct registry *registry, const struct device_identity *identity);

/* A copy of the name that the device was first opened by, also of one that is kept because it
 * failed; NULL: there is none. */
char *registry_path(struct registry *registry, uint64_t number);

/*
 * The caller's claim becomes the only one: openers wait until registry_give_back or
 * registry_forget. Returns 0, or -EBUSY: there are other sessions, or such that are just opening;
 * -EAGAIN: somebody holds it for a moment.
 */
int registry_take_alone(struct registry *registry, struct device *device);

/* Its backend is about to be closed by the caller, on `loop`: nobody looks at it any more. */
void registry_alone_closes(struct registry *registry, struct device *device, struct io_loop *loop,
                           struct user *user);

/* After that: it is forgotten. */
void registry_forget(struct registry *registry, struct device *device);

/* The claim is released; it goes on as it is. */
void registry_give_back(struct registry *registry, struct device *device, struct io_loop *loop,
                        struct user *user);

#endif
