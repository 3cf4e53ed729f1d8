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
    FDPASS_MAX = 4, /* descriptors that fit in one message's control data; the kernel drops more */
};

struct fdpass {
    int fds[FDPASS_MAX];
    size_t count;
    int truncated; /* the peer sent more: the kernel has closed those that did not fit */
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
