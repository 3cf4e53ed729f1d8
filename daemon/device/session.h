/* SPDX-License-Identifier: MIT */
/*
 * A session: one client's open of one device. It belongs to the loop of its owner, the client's
 * connection, which it knows as callbacks; what other threads look at (lists, lock holders) is
 * constant or under the device's mutex.
 *
 * A session ends when its own I/O has ended: session_close marks it, and the end of its last
 * transfer, or session_close itself, finishes it.
 */
#ifndef BLKD_DAEMON_DEVICE_SESSION_H
#define BLKD_DAEMON_DEVICE_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "common/limits.h"
#include "daemon/base/peer.h"
#include "daemon/device/device.h"
#include "daemon/device/notify.h"
#include "daemon/device/session_lock.h"

/* Numbers as on the wire (Blkd__Sync). */
enum session_sync {
    SESSION_SYNC_OS = 0,
    SESSION_SYNC_NONE = 1,
    SESSION_SYNC_DRIVE = 2,
};

/* Numbers as on the wire (Blkd__Access). */
enum session_access {
    SESSION_ACCESS_AUTO = 0,
    SESSION_ACCESS_READ_ONLY = 1,
    SESSION_ACCESS_READ_WRITE = 2,
};

/* Somebody who waits until a session is gone. */
struct session_ending {
    struct loop *loop;
    struct letter letter; /* with `deliver` set */
    TAILQ_ENTRY(session_ending) link;
};

TAILQ_HEAD(session_ending_list, session_ending);

struct session_config {
    bool direct;
    enum session_sync sync;
    bool lock;
    uint32_t sector_size; /* 0: the device's own */
    enum session_access access;
    bool strict;
    bool discard; /* is to give space back */
};

/* What has happened to a session since its owner was last told. */
struct session_report {
    unsigned int events; /* of enum session_event */
    unsigned int lost_locks;
    uint64_t size_bytes;
    uint64_t generation;
    int failed; /* 0 or a negative errno */
};

/*
 * Who has the session: above this room, a connection. Outlasts all of its sessions. Each of these
 * is called on the session's loop, without any mutex.
 */
struct session_owner {
    const struct session_owner_ops *ops;
};

struct session_owner_ops {
    /* Whether the client reads; if not, the owner calls session_send_report when it does again. */
    bool (*may_report)(struct session_owner *owner);
    void (*report)(struct session_owner *owner, const struct session *session,
                   const struct session_report *report);
    /* An administrator throws the session out: the client is told, then session_close follows. */
    void (*on_evicted)(struct session_owner *owner, const struct session *session);
    /* It holds one lock more or less than before. */
    void (*on_locks_changed)(struct session_owner *owner, int change);
    /* The session is over, its locks are released inside and outside; session->life.lost says what
     * has become of its changes. It is freed when this returns. */
    void (*on_gone)(struct session_owner *owner, struct session *session);
};

/* What the owner gives a session of itself; constant. Pointers outlast the session. */
struct session_client {
    struct session_owner *owner;
    struct io_loop *loop;
    struct user *user;        /* whose quotas and helper threads it uses */
    struct lock_party *party; /* who waits together, for deadlocks */
    uint64_t connection;      /* its number */
    struct peer peer;
    char name[CLIENT_NAME_MAX + 1];
};

/* Under the device's mutex: events that were left (notify.h). */
struct session_news {
    unsigned int events;
    unsigned int lost_locks; /* not yet told */
    bool posted;             /* the letter is in the loop's mailbox */
    struct letter letter;
};

/* Under the device's mutex: locks that others have taken away. */
struct session_losses {
    uint64_t count;          /* how often locks were doomed or taken away */
    uint64_t swept;          /* `count` as of the last session_lock_sweep */
    struct lock_range range; /* spans what it has lost without taking notice */
};

/* The loop's own: how the session ends. */
struct session_life {
    unsigned int busy; /* requests that use the session, its own close not counted */
    bool closing;
    bool evicted;
    bool ending;         /* its last request has ended: no event is worth a look any more */
    bool detached;       /* only the letter of its news keeps it */
    int lost;            /* 0, or the error of a failure that took changes of the session of which
                            it has not been told: the answer of its close */
    struct flush marked; /* the end waits until that failure is written down */
    struct guard_wait guard; /* the end waits until the outside world may come in again */
};

struct session {
    /* Constant. */
    uint64_t number;
    struct device *device;
    struct session_client client;
    char *path;
    char purpose[PURPOSE_MAX + 1];
    struct session_config asked;
    bool read_write;
    bool path_verified; /* the path led here; else it is a client's label. Set as sector_size is */
    uint32_t sector_size; /* set before anybody else sees the session */
    uint64_t opened_unix_ms;

    /* Under the device's mutex; `lock` as lock/lock.h says. */
    TAILQ_ENTRY(session) device_link;
    struct lock_owner lock;
    struct session_losses losses;
    struct sync_part unsynced;
    bool failure_told; /* a flush or a FUA change of its own was answered with the device's failure
                        */
    struct drain_gate transfers; /* and resizes, in flight */
    struct stats stats;
    struct session_news news;

    /* Under the registry's mutex. */
    TAILQ_ENTRY(session) registry_link;
    struct session_ending_list endings;

    /* The loop's own. */
    struct session_life life;
    struct session_lock_list locks;
    unsigned int lock_count;
    UT_hash_handle hh; /* the owner's */
    void *owner_data;  /* the owner's */
};

/* A session of the device, which nobody sees yet: session_enter and registry_add_session make it
 * visible. `path` and `purpose` are copied. NULL: no memory. */
struct session *session_new(struct device *device, const struct session_client *client,
                            uint64_t number, const char *path, const char *purpose,
                            const struct session_config *asked, bool read_write);
/* Of a session that no list has any more; later, if a letter of it is under way. Takes NULL;
 * returns NULL. */
struct session *session_free(struct session *session);

/* It is one of its device's sessions from now on, or is not any more, without having closed. */
void session_enter(struct session *session);
void session_leave(struct session *session);

/* A request begins and ends to use the session. */
void session_hold(struct session *session);
void session_drop(struct session *session);

/* No request begins on it any more; when the last has ended, its locks are released, and then its
 * owner is told (on_gone) and the session is gone. */
void session_close(struct session *session);

/* Reports to the owner what has happened since it last was told; the owner calls this when its
 * client reads again. */
void session_send_report(struct session *session);

/* "session 7 (pid 123, uid 0, qemu)", for refusals. */
void session_describe(const struct session *session, char *text, size_t size);

#endif
