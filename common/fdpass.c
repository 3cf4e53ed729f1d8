/* SPDX-License-Identifier: MIT */
/* Whatever arrives is in *ret_fds, none is lost. */
#include "common/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/standard.h"

/* A union, because control data must be aligned as struct cmsghdr is. */
union control {
    struct cmsghdr alignment;
    char bytes[CMSG_SPACE(sizeof(int) * FDPASS_RECEIVE_MAX)];
};

static void attach(struct msghdr *message, union control *control, const int *fds, size_t count)
{
    const size_t bytes = count * sizeof(*fds);

    memset(control, 0, CMSG_SPACE(bytes));
    message->msg_control = control->bytes;
    message->msg_controllen = CMSG_SPACE(bytes);

    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(header), fds, bytes);
}

ssize_t fdpass_send_many(int socket, struct msghdr *message, const int *fds, size_t count,
                         int flags)
{
    struct msghdr local = *message;
    union control control;
    ssize_t sent;

    assert(count <= FDPASS_MAX);
    local.msg_control = NULL;
    local.msg_controllen = 0;
    if (count > 0)
        attach(&local, &control, fds, count);
    do {
        sent = sendmsg(socket, &local, flags | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

ssize_t fdpass_send(int socket, struct msghdr *message, int fd, int flags)
{
    return fdpass_send_many(socket, message, &fd, fd >= 0 ? 1 : 0, flags);
}

/* One that cannot be lifted counts as one that did not arrive. */
static void lift(struct fdpass *fds)
{
    const size_t count = fds->count;

    fds->count = 0;
    for (size_t i = 0; i < count; i++) {
        int fd = standard_lift(fds->fds[i]);
        if (fd >= 0)
            fds->fds[fds->count++] = fd;
        else
            fds->truncated = 1;
    }
}

static void collect(struct msghdr *message, struct fdpass *fds)
{
    fds->count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t bytes = header->cmsg_len - CMSG_LEN(0);
        /* The kernel fills padding with one more, if there are more. */
        if (bytes > sizeof(fds->fds) - fds->count * sizeof(int))
            bytes = sizeof(fds->fds) - fds->count * sizeof(int);
        memcpy(fds->fds + fds->count, CMSG_DATA(header), bytes);
        fds->count += bytes / sizeof(int);
    }
    fds->truncated = (message->msg_flags & MSG_CTRUNC) != 0;
    lift(fds);
}

ssize_t fdpass_receive(int socket, struct msghdr *message, int flags, struct fdpass *ret_fds)
{
    struct msghdr local = *message;
    union control control;
    ssize_t received;

    local.msg_control = control.bytes;
    local.msg_controllen = sizeof(control.bytes);
    do {
        received = recvmsg(socket, &local, flags | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    collect(&local, ret_fds);
    message->msg_flags = local.msg_flags;
    return received;
}
