/* SPDX-License-Identifier: MIT */
/*
 * The listening socket: one daemon has it. A lock file beside the socket says so, as long as the
 * daemon lives; a socket file without its lock is stale and is taken over. Each accepted client is
 * handed to a worker, in turn.
 */
#ifndef BLKD_DAEMON_LINK_LISTENER_H
#define BLKD_DAEMON_LINK_LISTENER_H

#include <event2/event.h>
#include <stdbool.h>

#include "daemon/link/server.h"

enum { LISTENER_MESSAGE_MAX = 512, LISTENER_PATH_MAX = 108 };

struct listener {
    struct server *server;
    int fd;
    int lock_fd;                  /* -1 for a socket from systemd */
    char path[LISTENER_PATH_MAX]; /* empty for a socket from systemd */
    struct event *accept_event;
    struct event *retry_event;
    unsigned int back_off_ms; /* 0: accepting */
    unsigned int next_worker;
};

/* Listens on `passed_fd`, a listening socket that becomes the listener's, or if that is -1 binds
 * `path`. 0, or a negative errno with the reason in message:
 * -EADDRINUSE if a live daemon has it. */
int listener_open(struct listener *listener, const char *path, int passed_fd,
                  char message[LISTENER_MESSAGE_MAX]);

/* Begins to accept. 0 or a negative errno. */
int listener_start(struct listener *listener, struct server *server, struct event_base *base);

/* Accepts no more; who connects from now on waits for the successor, or for the end. */
void listener_stop(struct listener *listener);

/* The same, and removes the socket file. */
void listener_close(struct listener *listener);

#endif
