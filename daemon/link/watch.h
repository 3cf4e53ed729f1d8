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
#include "daemon/device/happening.h"

struct conn;
struct watcher;

TAILQ_HEAD(watcher_list, watcher);

/* Publishing, as the sink of what happens, costs next to nothing while nobody watches. */
struct watch_hub {
    struct happening_sink sink;
    pthread_mutex_t mutex; /* innermost: nothing else is locked under it but a mailbox */
    struct watcher_list watchers;
    atomic_uint count;
};

void watch_hub_init(struct watch_hub *hub);
/* No watchers, and the mailboxes of those that were are drained. */
void watch_hub_deinit(struct watch_hub *hub);

/* The connection watches from now on: 0 (twice is the same as once); -ENOMEM; -EDQUOT: its user
 * watches too often; -ESHUTDOWN: it is closing. On its worker. */
int watch_start(struct watch_hub *hub, struct conn *conn);
/* Not any more: nothing is sent after this. What was not sent yet is dropped. On its worker. */
void watch_stop(struct watch_hub *hub, struct conn *conn);

/* Sends what waits, called by the connection when its client reads again. NULL: no watcher. */
void watch_send(struct watcher *watcher);

#endif
