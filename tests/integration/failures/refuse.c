/* SPDX-License-Identifier: MIT */
/*
 * refuse CALL FIRST COUNT ERRNO REPORT PROGRAM [ARGUMENT...]
 *
 * Runs PROGRAM in its own place, where the kernel refuses its calls of CALL from the FIRST on
 * (counted from 1), COUNT of them, with ERRNO. A seccomp filter asks a supervisor, a process beside
 * it, about each. When PROGRAM has ended, REPORT holds how many calls there were and how many were
 * refused.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROW(name)                                                                                  \
    {                                                                                              \
#name, __NR_##name                                                                         \
    }

static const struct {
    const char *name;
    int number;
} calls[] = {
    ROW(clone3),
    ROW(epoll_create1),
    ROW(eventfd2),
    ROW(io_uring_enter),
    ROW(io_uring_register),
    ROW(io_uring_setup),
    ROW(memfd_create),
    ROW(mmap),
    ROW(openat),
    ROW(pidfd_open),
    ROW(preadv2),
    ROW(pwritev2),
    ROW(socket),
    ROW(timerfd_create),
    ROW(accept4),
    ROW(epoll_ctl),
    ROW(fallocate),
    ROW(fdatasync),
    ROW(fsync),
    ROW(pwrite64),
    ROW(flock),
};

struct plan {
    unsigned long first;
    unsigned long count;
    int error;
    const char *report;
};

static void fail(const char *what)
{
    (void)fprintf(stderr, "refuse: %s: %s\n", what, strerror(errno));
    exit(125);
}

static int find_call(const char *name)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
        if (strcmp(calls[i].name, name) == 0)
            return calls[i].number;
    (void)fprintf(stderr, "refuse: unknown call: %s\n", name);
    exit(125);
}

/* ---- the supervisor ---- */

static void answer(int listener, const struct seccomp_notif *asked, int error)
{
    struct seccomp_notif_resp response = {
        .id = asked->id,
        .error = -error,
        .flags = error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response); /* whoever asked may be gone */
}

static void write_report(const struct plan *plan, unsigned long seen, unsigned long refused)
{
    FILE *report = fopen(plan->report, "we");

    if (!report || fprintf(report, "%lu %lu\n", seen, refused) < 0 || fclose(report) != 0)
        fail(plan->report);
}

/* Until nobody is left whom the filter holds. */
static void supervise(int listener, const struct plan *plan)
{
    struct pollfd poll_listener = {.fd = listener, .events = POLLIN};
    unsigned long seen = 0;
    unsigned long refused = 0;

    for (;;) {
        struct seccomp_notif asked = {0};

        if (poll(&poll_listener, 1, -1) < 0)
            continue;
        if (!(poll_listener.revents & POLLIN))
            break;
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
            continue;
        seen++;
        unsigned long refuse = seen >= plan->first && seen - plan->first < plan->count;
        refused += refuse;
        answer(listener, &asked, refuse ? plan->error : 0);
    }
    write_report(plan, seen, refused);
}

static int receive_listener(int socket)
{
    union {
        struct cmsghdr alignment;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int listener;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
        exit(125);
    memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(listener));
    return listener;
}

/* A grandchild, so that the program has no child that it does not know of. */
static void start_supervisor(int socket, const struct plan *plan)
{
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child > 0) {
        (void)waitpid(child, NULL, 0);
        return;
    }
    if (fork() != 0)
        _exit(0);
    (void)setsid(); /* signals for the program's group are not for its supervisor */
    int listener = receive_listener(socket);
    for (int fd = 0; fd < 3; fd++) /* whoever reads them waits for the program's end only */
        (void)close(fd);
    supervise(listener, plan);
    _exit(0);
}

/* ---- the program ---- */

static int filter_install(int number)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(instructions) / sizeof(*instructions), instructions};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("no_new_privs");
    long listener =
        syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0)
        fail("seccomp");
    return (int)listener;
}

static void send_listener(int socket, int listener)
{
    union {
        struct cmsghdr alignment;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec vector = {(void *)(size_t) "x", 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &listener, sizeof(listener));
    if (sendmsg(socket, &message, 0) != 1)
        fail("sendmsg");
}

int main(int argc, char **argv)
{
    int sockets[2];

    if (argc < 7) {
        (void)fprintf(stderr, "usage: refuse CALL FIRST COUNT ERRNO REPORT PROGRAM...\n");
        return 125;
    }
    const struct plan plan = {strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10),
                              (int)strtol(argv[4], NULL, 10), argv[5]};
    int number = find_call(argv[1]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        fail("socketpair");
    start_supervisor(sockets[0], &plan);
    int listener = filter_install(number);
    send_listener(sockets[1], listener);
    (void)close(listener);
    (void)close(sockets[0]);
    (void)close(sockets[1]);
    execvp(argv[6], argv + 6);
    fail(argv[6]);
}
