/* SPDX-License-Identifier: MIT */
#include "daemon/service.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

int service_socket(void)
{
    int count = sd_listen_fds(1);
    if (count < 0)
        return count;
    if (count == 0)
        return -ENOENT;
    if (count != 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
        return -EINVAL;
    return SD_LISTEN_FDS_START;
}

void service_ready(const char *status)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void service_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1\nSTATUS=Completing the requests in flight");
}
