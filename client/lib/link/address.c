/* SPDX-License-Identifier: MIT */
/* See address.h. */
#include "client/lib/link/address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "common/cleanup.h"
#include "common/standard.h"

static const char system_socket[] = "/run/blkd/blkd.sock";

/* More than a large write and its header; the kernel caps it (net.core.wmem_max) and doubles it. */
static const int send_buffer_bytes = 1024 * 1024;

static int address_set(const char *directory, const char *path, struct sockaddr_un *ret_address)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", directory, path);

    if (length <= 0)
        return error_report(-EINVAL, "the path of the socket of blkd is empty");
    if ((size_t)length >= sizeof(address.sun_path))
        return error_report(-ENAMETOOLONG,
                            "the socket path %s%s is longer than %zu bytes, the maximum for a Unix "
                            "socket",
                            directory, path, sizeof(address.sun_path) - 1);
    *ret_address = address;
    return 0;
}

int address_find(const char *path, struct sockaddr_un *ret_address)
{
    const char *chosen = path != NULL ? path : secure_getenv("BLKD_SOCKET");
    const char *runtime_directory = secure_getenv("XDG_RUNTIME_DIR");
    struct sockaddr_un address;

    if (chosen != NULL)
        return address_set("", chosen, ret_address);
    if (runtime_directory != NULL && address_set(runtime_directory, "/blkd.sock", &address) == 0 &&
        access(address.sun_path, F_OK) == 0) {
        *ret_address = address;
        return 0;
    }
    return address_set("", system_socket, ret_address);
}

/* What a person may do about a failed connect. */
static const char *address_advice(int error)
{
    switch (error) {
    case -ENOENT:
    case -ECONNREFUSED:
        return "blkd is not running: start it (systemctl enable --now blkd.socket), or set "
               "$BLKD_SOCKET to the path of its socket";
    case -EACCES:
    case -EPERM:
        return "you may not connect: join the group blkd and log in again, or ask an administrator";
    case -ETIMEDOUT:
        return "blkd did not accept the connection in time: it is overloaded or stopped";
    default:
        return "blkd could not be reached";
    }
}

static int address_fail(const struct sockaddr_un *address, int error)
{
    return error_report(error, "connecting to blkd at %s failed: %s: %s", address->sun_path,
                        strerrordesc_np(-error), address_advice(error));
}

/* connect(2) on a Unix socket waits for room in the queue for as long as the send timeout allows.
 */
static int address_set_timeout(int fd, uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    struct timeval timeout;
    uint64_t left_us;

    if (deadline_ns == CLOCK_NO_DEADLINE)
        return 0;
    if (now_ns >= deadline_ns)
        return -ETIMEDOUT;
    left_us = (deadline_ns - now_ns + 999) / 1000; /* 0 would mean: for ever */
    timeout = (struct timeval){(time_t)(left_us / 1000000), (suseconds_t)(left_us % 1000000)};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ? -errno : 0;
}

static int address_try(int fd, const struct sockaddr_un *address, uint64_t deadline_ns)
{
    int r;

    do {
        r = address_set_timeout(fd, deadline_ns);
        if (r == 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
            r = -errno;
    } while (r == -EINTR);
    return r == -EAGAIN ? -ETIMEDOUT : r;
}

int address_connect(const struct sockaddr_un *address, uint64_t deadline_ns, int *ret_socket)
{
    CLEANUP_CLOSE int fd = standard_lift(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int r;

    if (fd < 0)
        return error_report(-errno, "creating a socket to connect to blkd failed: %s",
                            strerrordesc_np(errno));
    r = address_try(fd, address, deadline_ns);
    if (r == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        r = -errno;
    if (r < 0)
        return address_fail(address, r);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof(send_buffer_bytes));
    *ret_socket = TAKE_FD(fd);
    return 0;
}
