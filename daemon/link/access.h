/* SPDX-License-Identifier: MIT */
/*
 * Who may have the daemon open what. Root and the daemon's own user may name any path, if it means
 * the same to them as to the daemon; everybody else passes a descriptor that they could open
 * themselves, and its access mode bounds the session.
 */
#ifndef BLKD_DAEMON_LINK_ACCESS_H
#define BLKD_DAEMON_LINK_ACCESS_H

#include <stdbool.h>

#include "daemon/base/peer.h"

enum { ACCESS_MESSAGE_MAX = 256 };

/* Whether the peer may name paths, and have the daemon touch file systems that can hang. */
bool access_is_trusted(const struct peer *peer);

/* Whether a path leads the peer where it leads the daemon: both have the same root directory and
 * the same mounts, and so are in one mount namespace. Returns 0, or -EACCES with the reason in
 * message. Reads /proc; on a helper thread. */
int access_check_view(const struct peer *peer, char message[ACCESS_MESSAGE_MAX]);

/*
 * Whether a peer's descriptor may be used at all: found out without a call that can hang on it.
 * Returns 0; -EINVAL (O_PATH, or open for writing only); -ENOTBLK (neither file nor block device);
 * -EACCES (from a peer that is not trusted: on a file system that can hang, or that stores
 * nothing); the reason in message. *ret_writable: it is open for writing anywhere.
 */
int access_check_descriptor(int fd, const struct peer *peer, bool *ret_writable,
                            char message[ACCESS_MESSAGE_MAX]);

/* The same for who only wants to know something about the file: a peer that is trusted may have
 * opened it with O_PATH, others get -EACCES then. */
int access_check_question(int fd, const struct peer *peer, char message[ACCESS_MESSAGE_MAX]);

#endif
