/* SPDX-License-Identifier: MIT */
/*
 * Where the daemon's socket is, and a connected descriptor to it.
 */
#ifndef BLKD_CLIENT_LIB_LINK_ADDRESS_H
#define BLKD_CLIENT_LIB_LINK_ADDRESS_H

#include <stdint.h>
#include <sys/un.h>

/* Sets *ret_address to `path` or, if that is NULL, to the place where a daemon is looked for:
 * $BLKD_SOCKET, then blkd.sock in $XDG_RUNTIME_DIR if that exists, then the system's. Returns 0 or
 * -ENAMETOOLONG or -EINVAL, with the thread's message. */
int address_find(const char *path, struct sockaddr_un *ret_address);

/* Connects, waiting until the deadline while the daemon's queue of new clients is full. The
 * descriptor is non-blocking and close-on-exec. Returns 0 or a negative errno with the thread's
 * message, which says what to do about it. */
int address_connect(const struct sockaddr_un *address, uint64_t deadline_ns, int *ret_socket);

#endif
