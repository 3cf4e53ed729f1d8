/* SPDX-License-Identifier: MIT */
/*
 * Who watches what happens in the daemon (Watch on the wire, `blkd-cli watch`). Publishing copies
 * what happened once, leaves it in each watcher's bounded queue and wakes its worker, which tells
 * the client as far as that reads. A queue that is full loses the oldest, so that a watcher that is
 * slower than what happens knows the present, and is told how many it was not told.
 *
 * Whom nobody trusts with paths (access.h) is told only of devices on which its own connection has
 * a session when it is told, and paths and purposes only of its own user's sessions.
 */
#ifndef BLKD_DAEMON_LINK_WATCH_H
#define BLKD_DAEMON_LINK_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/base/mailbox.h"
#include "daemon/lock/lock.h"

struct conn;
struct device;
struct session;
struct watcher;

/* Numbers as on the wire (Blkd__Happening__What). */
enum watch_what {
    WATCH_SESSION_OPENED = 1,
    WATCH_SESSION_CLOSED = 2,
    WATCH_LOCK_GRANTED = 3,
    WATCH_LOCK_RELEASED = 4,
    WATCH_LOCK_WAITS = 5,
    WATCH_LOCK_LOST = 6,
    WATCH_RESIZED = 7,
    WATCH_SYNC_FAILED = 8,
    WATCH_RECOVERED = 9,
    WATCH_EVICTED = 10,
    WATCH_DEVICE_CLOSED = 11,
};

TAILQ_HEAD(watcher_list, watcher);

struct watch_hub {
    pthread_mutex_t mutex; /* innermost: nothing else is locked under it but a mailbox */
    struct watcher_list watchers;
    atomic_uint count;
};

void watch_hub_init(struct watch_hub *hub);
/* No watchers, and the mailboxes of those that were are drained. */
void watch_hub_deinit(struct watch_hub *hub);

/* What is told beside `what`, device and session; zero where it does not apply. */
struct watch_detail {
    enum lock_mode mode;
    struct lock_range range;
    uint64_t token;
    uint64_t size_bytes;
    uint64_t generation;
    int error;           /* 0 or a negative errno */
    const char *purpose; /* copied; may be NULL */
};

/* Tells the watchers. `session` may be NULL: of the device. `detail` may be NULL. Any thread, under
 * any mutexes; copies what it is given; costs next to nothing while nobody watches. */
void watch_publish(struct watch_hub *hub, enum watch_what what, const struct device *device,
                   const struct session *session, const struct watch_detail *detail);

/* The connection watches from now on: 0 (twice is the same as once); -ENOMEM; -EDQUOT: its user
 * watches too often; -ESHUTDOWN: it is closing. On its worker. */
int watch_start(struct watch_hub *hub, struct conn *conn);
/* Not any more: nothing is sent after this. What was not sent yet is dropped. On its worker. */
void watch_stop(struct watch_hub *hub, struct conn *conn);

/* Sends what waits, called by the connection when its client reads again. NULL: no watcher. */
void watch_send(struct watcher *watcher);

#endif
