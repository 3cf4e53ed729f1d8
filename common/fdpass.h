/* SPDX-License-Identifier: MIT */
/*
 * File descriptors in socket messages (SCM_RIGHTS, unix(7)).
 */
#ifndef BLKD_COMMON_FDPASS_H
#define BLKD_COMMON_FDPASS_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

enum {
    FDPASS_MAX = 4, /* descriptors that go with one message */
    /* What a peer can send with one: SCM_MAX_FD of the kernel (include/net/scm.h). All are
     * received, because the kernel would close here and now what does not fit, and the last close
     * of a socket that lingers (SO_LINGER) or of a file on FUSE can block for as long as its owner
     * likes. */
    FDPASS_RECEIVE_MAX = 253,
};

struct fdpass {
    int fds[FDPASS_RECEIVE_MAX];
    size_t count;
    int truncated; /* some did not arrive: this process has no room for more descriptors */
};

/* sendmsg(2) of `message` with `fd` (or none if -1) attached; MSG_NOSIGNAL is added to `flags`.
 * Returns the bytes sent or a negative errno; EINTR is retried. */
ssize_t fdpass_send(int socket, struct msghdr *message, int fd, int flags);

/* The same with `count` descriptors, at most FDPASS_MAX. */
ssize_t fdpass_send_many(int socket, struct msghdr *message, const int *fds, size_t count,
                         int flags);

/* recvmsg(2) into `message`'s vector. Descriptors that came along are in *ret_fds, close-on-exec,
 * the caller's to close. Returns the bytes received, 0 at the peer's end, or a negative errno with
 * no descriptors; EINTR is retried. */
ssize_t fdpass_receive(int socket, struct msghdr *message, int flags, struct fdpass *ret_fds);

#endif
