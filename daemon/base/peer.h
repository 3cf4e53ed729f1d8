/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end of a connection: SO_PEERCRED (unix(7)), as it was when the peer
 * connected.
 */
#ifndef BLKD_DAEMON_BASE_PEER_H
#define BLKD_DAEMON_BASE_PEER_H

#include <sys/types.h>

#include "daemon/base/log.h"

enum { PEER_COMMAND_MAX = 64 };

struct peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    char command[PEER_COMMAND_MAX]; /* /proc/PID/comm; "?" if it has gone already */
};

/* 0 or a negative errno. Does not block: comm, unlike cmdline, takes no lock of the peer's memory.
 */
int peer_get(int socket, struct peer *ret_peer);

/* Adds pid, uid and command to a line of the log. */
void peer_log(const struct peer *peer, struct log_line *line);

#endif
