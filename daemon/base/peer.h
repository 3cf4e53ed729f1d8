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

/* A descriptor that is readable once the process that connected has ended, with all its threads
 * and whoever still has its socket; the caller's to close. Or a negative errno: -ESRCH, it has
 * ended already; -EOPNOTSUPP, it cannot be watched (no pidfds here, or a process of another pid
 * namespace). */
int peer_open_process(int socket, const struct peer *peer);

/* The same for kernels without SO_PEERPIDFD (before 6.5), by the peer's number. If that number was
 * given to another process before this call, the other's end is waited for: the peer has ended all
 * the same, so that whoever acts on it is late, but not wrong. */
int peer_open_pid(pid_t pid);

/* Adds pid, uid and command to a line of the log. */
void peer_log(const struct peer *peer, struct log_line *line);

#endif
