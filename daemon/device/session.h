/* SPDX-License-Identifier: MIT */
/*
 * A session: one client's open of one device. It belongs to its connection's worker; what other
 * threads look at (lists, lock holders) is constant after opening or under the device's mutex.
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
#include "daemon/base/mailbox.h"
#include "daemon/base/peer.h"
#include "daemon/device/device.h"
#include "daemon/device/lock.h"
#include "daemon/device/stats.h"
#include "daemon/lock/lock.h"
#include "proto/blkd.pb-c.h"

struct conn;
struct request;
struct server;

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

enum session_event {
    SESSION_EVENT_RESIZED = 1,
    SESSION_EVENT_SYNC_FAILED = 2,
    SESSION_EVENT_LOCK_BROKEN = 4,
    SESSION_EVENT_LOCK_LOST = 8, /* toward the outside world */
    SESSION_EVENT_EVICTED = 16,  /* it is to be closed */
};

/* Somebody who waits until a session is gone. */
struct session_ending {
    struct worker *worker;
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

struct session {
    uint64_t number; /* constant, as all that has no other remark */
    struct conn *conn;
    struct worker *worker;
    struct device *device;
    char *path;
    struct session_config asked;
    bool read_write;
    uint32_t sector_size;
    uint64_t opened_unix_ms;
    struct peer peer;
    uint64_t connection_number;
    char client_name[CLIENT_NAME_MAX + 1];
    char purpose[PURPOSE_MAX + 1];

    /* Under the device's mutex; `lock` as lock.h says. */
    struct lock_owner lock;
    unsigned int lost_locks;      /* not yet told */
    uint64_t losses;              /* how often locks were doomed or taken away */
    uint64_t losses_swept;        /* as of the last session_lock_sweep */
    struct lock_range lost_range; /* spans what it has lost without taking notice */
    struct sync_part unsynced;
    struct stats stats;
    TAILQ_ENTRY(session) device_link;
    unsigned int events;         /* of enum session_event, not yet sent */
    bool events_posted;          /* event_letter is in the worker's mailbox */
    struct drain_gate transfers; /* and resizes, in flight */

    /* Under the registry's mutex. */
    TAILQ_ENTRY(session) registry_link;
    struct session_ending_list endings;

    /* The worker's own. */
    UT_hash_handle hh; /* the connection's */
    struct letter event_letter;
    unsigned int busy; /* requests that use the session, its own close not counted */
    bool closing;
    bool detached; /* only event_letter keeps it */
    bool evicted;
    bool ending; /* its last request has ended: no event is worth a look any more */
    struct request *close_request;
    struct session_lock_list locks;
    unsigned int lock_count;
    struct guard_wait guard; /* the end waits until the outside world may come in again */
};

/* A request begins and ends to use the session. */
void session_hold(struct session *session);
void session_drop(struct session *session);

/*
 * No request begins on it any more; when the last has ended, its lock is released, and then
 * `request` (NULL if the connection ends) is answered and the session is gone.
 */
void session_close(struct session *session, struct request *request);

/* Of a session that no list has any more; later, if a letter of it is under way. Takes NULL;
 * returns NULL. */
struct session *session_free(struct session *session);

/* Leaves events (of enum session_event) for the session. With the device's mutex held. */
void session_tell(struct session *session, unsigned int events);

/* Sends what session_tell left; posted as a letter. */
void on_session_events(struct letter *letter);

/* The same, called by the connection when its client reads again. */
void session_send_events(struct session *session);

/* "session 7 (pid 123 uid 0 command qemu)", for refusals. */
void session_describe(const struct session *session, char *text, size_t size);

/* Fills what the wire tells of a session; `ret_info` is initialised. handle_device.c */
void session_fill_info(struct session *session, Blkd__Info *ret_info);

#endif
