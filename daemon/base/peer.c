/* SPDX-License-Identifier: MIT */
#include "daemon/base/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/text.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* asm-generic/socket.h, which newer C libraries have */
#endif

enum {
    PEER_STAT_MAX = 1024,
    PEER_STAT_STATE = 3,       /* the first field after the command (proc_pid_stat(5)) */
    PEER_STAT_START_TIME = 22, /* in ticks since the system's start */
};

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

/* 0 or a negative errno; -ESRCH: there is no such process. */
static int peer_read_start(pid_t pid, uint64_t *ret_ticks)
{
    char path[64];
    char text[PEER_STAT_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    ssize_t length = read(fd, text, sizeof(text) - 1);
    if (length <= 0)
        return length < 0 ? -errno : -ESRCH;
    text[length] = '\0';
    const char *field = strrchr(text, ')'); /* the command may contain anything */
    for (unsigned int i = PEER_STAT_STATE; field != NULL && i <= PEER_STAT_START_TIME; i++) {
        field = strchr(field, ' ');
        field = field != NULL ? field + 1 : NULL;
    }
    if (field == NULL)
        return -EIO;
    *ret_ticks = strtoull(field, NULL, 10);
    return 0;
}

int peer_open_pid(pid_t pid)
{
    uint64_t before = 0;
    uint64_t after = 0;
    if (pid <= 0)
        return -EOPNOTSUPP;
    int error = peer_read_start(pid, &before);
    if (error < 0)
        return error == -ESRCH ? error : -EOPNOTSUPP;
    CLEANUP_CLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ENOSYS || errno == EPERM || errno == EINVAL ? -EOPNOTSUPP : -errno;
    error = peer_read_start(pid, &after);
    if (error < 0 || before != after)
        return -ESRCH;
    return TAKE_FD(fd);
}

int peer_open_process(int socket, const struct peer *peer)
{
    int fd = -1;
    socklen_t size = sizeof(fd);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
        return fd; /* close-on-exec, as all pidfds */
    /* Kernels before 6.16 give none for a process that was waited for. */
    if (errno == EINVAL || errno == ESRCH)
        return -ESRCH;
    if (errno == ENOPROTOOPT || errno == ENODATA)
        return peer_open_pid(peer->pid);
    return -errno;
}

void peer_log(const struct peer *peer, struct log_line *line)
{
    log_number(line, "pid", (uint64_t)peer->pid);
    log_number(line, "uid", (uint64_t)peer->uid);
    log_text(line, "command", peer->command);
}
