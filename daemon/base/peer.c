/* SPDX-License-Identifier: MIT */
#include "daemon/base/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/text.h"

static void peer_read_command(pid_t pid, char command[PEER_COMMAND_MAX])
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, command, PEER_COMMAND_MAX - 1);
    if (length <= 0) {
        (void)strcpy(command, "?");
        return;
    }
    command[length] = '\0';
    command[strcspn(command, "\n")] = '\0';
    text_make_utf8(command);
}

int peer_get(int socket, struct peer *ret_peer)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return -errno;
    ret_peer->pid = credentials.pid;
    ret_peer->uid = credentials.uid;
    ret_peer->gid = credentials.gid;
    peer_read_command(credentials.pid, ret_peer->command);
    return 0;
}

void peer_log(const struct peer *peer, struct log_line *line)
{
    log_number(line, "pid", (uint64_t)peer->pid);
    log_number(line, "uid", (uint64_t)peer->uid);
    log_text(line, "command", peer->command);
}
