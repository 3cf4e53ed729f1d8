/* SPDX-License-Identifier: MIT */
/* Holding connections; see idle.h. */
#include "tests/bench/idle.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "common/cleanup.h"
#include "tests/bench/clock.h"
#include "tests/bench/complaint.h"

enum {
    CONNECTIONS_EACH = 1000, /* of one holder */
    DESCRIPTORS_EACH = 8,    /* of a connection, generously: libblkd's take 4 */
    DESCRIPTORS_OTHER = 64,
    SETTLE_NS = 200000000, /* after the last connection, before the server is looked at */
    LOOK_NS = 1000000000,
};

/* One that holds connections. It sends its error (int), or 0, when all are there, and goes when
 * the socket ends. */
struct holder {
    pid_t pid;
    int socket;
};

struct idle {
    unsigned int count_holders;
    struct holder holders[];
};

/* ---- in the holder ---- */

static int holder_connect(const struct bench_options *options, unsigned int count)
{
    const struct target_options target_options = {
        .address = options->address,
        .socket = options->socket,
        .tier = options->tier,
        .depth = 1,
        .busy_poll_us = options->busy_poll_us,
        .o_direct = options->o_direct,
        .connect_only = !options->idle_open,
    };
    for (unsigned int i = 0; i < count; i++) {
        struct target *target; /* the end of the process closes it */
        int r = options->target->open(&target_options, &target);
        if (r < 0) {
            complain("idle connection %u of %u of one process: %s", i + 1, count, strerror(-r));
            return r;
        }
    }
    return 0;
}

static _Noreturn void holder_run(const struct bench_options *options, unsigned int count,
                                 int socket)
{
    char byte;
    int error = holder_connect(options, count);
    if (send(socket, &error, sizeof(error), MSG_NOSIGNAL) == sizeof(error))
        (void)recv(socket, &byte, sizeof(byte), 0);
    _exit(EXIT_SUCCESS);
}

/* ---- in the benchmark ---- */

static int holder_start(struct holder *holder, const struct bench_options *options,
                        unsigned int count)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    CLEANUP_CLOSE int socket = sockets[0];
    CLEANUP_CLOSE int holder_socket = sockets[1];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(socket);
        if (getppid() == parent)
            holder_run(options, count, holder_socket);
        _exit(EXIT_FAILURE);
    }
    *holder = (struct holder){.pid = pid, .socket = TAKE_FD(socket)};
    return 0;
}

static int holder_wait_connected(const struct holder *holder)
{
    int error;
    ssize_t got = recv(holder->socket, &error, sizeof(error), 0);
    if (got < 0)
        return -errno;
    return got == sizeof(error) ? error : -ECHILD;
}

static void wait_ns(long nanoseconds)
{
    struct timespec time = {.tv_sec = nanoseconds / NS_PER_SECOND,
                            .tv_nsec = nanoseconds % NS_PER_SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
        ;
}

static int look_at_server(pid_t server_pid, struct idle_cost *cost)
{
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t begin_cpu_ns;
    uint64_t end_cpu_ns;
    int r = process_read_cpu(server_pid, &begin_cpu_ns);
    if (r < 0)
        return r;
    wait_ns(LOOK_NS);
    r = process_read_cpu(server_pid, &end_cpu_ns);
    if (r < 0)
        return r;
    cost->server_cpu_percent =
        (double)(end_cpu_ns - begin_cpu_ns) * 100 / (double)(clock_ns(CLOCK_MONOTONIC) - begin_ns);
    return process_read_memory(server_pid, &cost->after);
}

static unsigned int holders_needed(unsigned int connections, unsigned int *ret_each)
{
    uint64_t descriptors =
        process_raise_descriptors(CONNECTIONS_EACH * DESCRIPTORS_EACH + DESCRIPTORS_OTHER);
    uint64_t each = descriptors > DESCRIPTORS_OTHER + DESCRIPTORS_EACH
                        ? (descriptors - DESCRIPTORS_OTHER) / DESCRIPTORS_EACH
                        : 1;
    *ret_each = each < CONNECTIONS_EACH ? (unsigned int)each : CONNECTIONS_EACH;
    return (connections + *ret_each - 1) / *ret_each;
}

static int idle_connect(struct idle *idle, const struct bench_options *options, unsigned int each)
{
    unsigned int remaining = options->idle;
    for (unsigned int i = 0; i < idle->count_holders; i++) {
        unsigned int count = remaining < each ? remaining : each;
        int r = holder_start(&idle->holders[i], options, count);
        if (r < 0) {
            complain("cannot start a process for %u idle connections: %s", count, strerror(-r));
            return r;
        }
        remaining -= count;
    }
    for (unsigned int i = 0; i < idle->count_holders; i++) {
        int r = holder_wait_connected(&idle->holders[i]);
        if (r < 0)
            return r; /* the holder has said why */
    }
    return 0;
}

static void cleanup_idle(struct idle **idle)
{
    idle_stop(*idle);
}

int idle_start(const struct bench_options *options, struct idle_cost *ret_cost,
               struct idle **ret_idle)
{
    struct idle_cost cost = {.known = options->server_pid != 0};
    unsigned int each;
    unsigned int count = holders_needed(options->idle, &each);
    CLEANUP(cleanup_idle)
    struct idle *idle = calloc(1, sizeof(*idle) + count * sizeof(idle->holders[0]));
    if (!idle)
        return -ENOMEM;
    idle->count_holders = count;
    int r = cost.known ? process_read_memory(options->server_pid, &cost.before) : 0;
    if (r == 0) {
        r = idle_connect(idle, options, each);
        if (r < 0)
            return r;
        wait_ns(SETTLE_NS);
    }
    if (r == 0 && cost.known)
        r = look_at_server(options->server_pid, &cost);
    if (r < 0) {
        complain("--server-pid=%d: cannot look at it: %s", (int)options->server_pid, strerror(-r));
        return r;
    }
    *ret_cost = cost;
    *ret_idle = TAKE_PTR(idle);
    return 0;
}

struct idle *idle_stop(struct idle *idle)
{
    if (!idle)
        return NULL;
    for (unsigned int i = 0; i < idle->count_holders; i++) {
        if (idle->holders[i].pid == 0)
            continue;
        (void)kill(idle->holders[i].pid, SIGKILL);
        cleanup_close(&idle->holders[i].socket);
        (void)waitpid(idle->holders[i].pid, NULL, 0);
    }
    free(idle);
    return NULL;
}
