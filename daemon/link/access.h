/* SPDX-License-Identifier: MIT */
/*
 * Who may have the daemon open what. Root and the daemon's own user may name any path; everybody
 * else passes a descriptor that they could open themselves, and its access mode bounds the session.
 */
#ifndef BLKD_DAEMON_LINK_ACCESS_H
#define BLKD_DAEMON_LINK_ACCESS_H

#include <stdbool.h>

#include "daemon/base/peer.h"

enum { ACCESS_MESSAGE_MAX = 256 };

/* Whether the peer may name paths, and have the daemon touch file systems that can hang. */
bool access_is_trusted(const struct peer *peer);

/*
 * Whether a peer's descriptor may be used at all: found out without a call that can hang on it.
 * Returns 0; -EINVAL (O_PATH, or open for writing only); -ENOTBLK (neither file nor block device);
 * -EACCES (from a peer that is not trusted: on a file system that can hang, or that stores
 * nothing); the reason in message. *ret_writable: it is open for writing anywhere.
 */
int access_check_descriptor(int fd, bool trusted, bool *ret_writable,
                            char message[ACCESS_MESSAGE_MAX]);

#endif
