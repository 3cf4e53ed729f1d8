/* SPDX-License-Identifier: MIT */
/* Starting clients and looking at what they cost; see runner.h. */
#include "tests/bench/runner.h"

#include <errno.h>
#include <pthread.h>
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
#include "tests/bench/process.h"

enum {
    /* For the word to begin to reach every client. */
    START_DELAY_NS = 1000000,
    START_DELAY_EACH_NS = 100000,
    STACK_BYTES = 512 * 1024,
    DESCRIPTORS_EACH = 12, /* of a client, generously */
    DESCRIPTORS_OTHER = 64,
};

/* A client as the main thread sees it. Over the socket goes the client's error (int) once it is
 * connected, and back the moment to begin (uint64_t), or nothing: a client that dies is an end of
 * file. */
struct runner {
    const struct bench_options *options;
    struct client_result *result;
    unsigned int index;
    int main_socket;
    int client_socket;
    pthread_t thread;
    pid_t pid;
    bool started;
};

static void runner_work(struct runner *runner)
{
    struct client *client = NULL;
    struct client_result *result = runner->result;
    result->error = client_new(runner->options, runner->index, result, &client);
    uint64_t start_ns;
    ssize_t sent = send(runner->client_socket, &result->error, sizeof(result->error), MSG_NOSIGNAL);
    if (sent == sizeof(result->error) && client &&
        recv(runner->client_socket, &start_ns, sizeof(start_ns), 0) == sizeof(start_ns))
        client_measure(client, start_ns);
    /* Until everybody has been looked at: the CPU time of a process goes with it. */
    while (recv(runner->client_socket, &start_ns, sizeof(start_ns), 0) > 0)
        ;
    client_free(client);
}

static void *runner_thread(void *user_data)
{
    struct runner *runner = user_data;
    runner_work(runner);
    return NULL;
}

/* With a stack of its own size: hundreds of the default one are gibibytes of address space. */
static int runner_spawn(struct runner *runner)
{
    pthread_attr_t attributes;
    int r = pthread_attr_init(&attributes);
    if (r)
        return -r;
    r = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (r == 0)
        r = pthread_create(&runner->thread, &attributes, runner_thread, runner);
    (void)pthread_attr_destroy(&attributes);
    return -r;
}

static int runner_fork(struct runner *runner)
{
    pid_t parent = getpid();
    runner->pid = fork();
    if (runner->pid < 0)
        return -errno;
    if (runner->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            runner_work(runner);
        _exit(EXIT_SUCCESS);
    }
    (void)close(runner->client_socket); /* the child's death is seen as the end of file */
    runner->client_socket = -1;
    return 0;
}

static int runner_start(struct runner *runner)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    runner->main_socket = sockets[0];
    runner->client_socket = sockets[1];
    int r = runner->options->processes ? runner_fork(runner) : runner_spawn(runner);
    runner->started = r == 0;
    return r;
}

/* 0 once the client is connected. */
static int runner_wait_connected(const struct runner *runner)
{
    int error;
    ssize_t got = recv(runner->main_socket, &error, sizeof(error), 0);
    if (got < 0)
        return -errno;
    return got == sizeof(error) ? error : -ECHILD;
}

static int runner_join(const struct runner *runner)
{
    if (!runner->options->processes)
        return -pthread_join(runner->thread, NULL);
    int status;
    if (waitpid(runner->pid, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) ? 0 : -ECHILD;
}

static int runner_finish(struct runner *runner)
{
    int r = runner->started ? runner_join(runner) : 0;
    cleanup_close(&runner->main_socket);
    cleanup_close(&runner->client_socket);
    return r < 0 ? r : runner->result->error;
}

static int runners_connect(struct runner *runners, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        int r = runner_start(&runners[i]);
        if (r < 0) {
            complain("cannot start client %u: %s", i, strerror(-r));
            return r;
        }
    }
    for (unsigned int i = 0; i < count; i++) {
        int r = runner_wait_connected(&runners[i]);
        if (r < 0)
            return r; /* the client has said why */
    }
    return 0;
}

struct sample {
    uint64_t time_ns;
    uint64_t client_cpu_ns;
    uint64_t server_cpu_ns;
};

static struct sample sample_at(uint64_t time_ns, const struct runner *runners, unsigned int count)
{
    struct timespec time = {.tv_sec = (time_t)(time_ns / NS_PER_SECOND),
                            .tv_nsec = (long)(time_ns % NS_PER_SECOND)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
        ;
    const struct bench_options *options = runners->options;
    struct sample sample = {.time_ns = clock_ns(CLOCK_MONOTONIC)};
    if (!options->processes)
        sample.client_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned int i = 0; options->processes && i < count; i++) {
        uint64_t cpu_ns = 0;
        (void)process_read_cpu(runners[i].pid, &cpu_ns);
        sample.client_cpu_ns += cpu_ns;
    }
    if (options->server_pid)
        (void)process_read_cpu(options->server_pid, &sample.server_cpu_ns);
    return sample;
}

static double rate(uint64_t begin, uint64_t end, uint64_t window_ns)
{
    return end > begin && window_ns ? (double)(end - begin) * NS_PER_SECOND / (double)window_ns : 0;
}

/* Lets them begin and looks at both ends of the window. What a late look adds on one end it adds
 * to the time as well. */
static struct run_cost runners_measure(const struct runner *runners, unsigned int count)
{
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC) + START_DELAY_NS + count * START_DELAY_EACH_NS;
    struct client_window window = client_window(runners->options, start_ns);
    for (unsigned int i = 0; i < count; i++)
        (void)send(runners[i].main_socket, &start_ns, sizeof(start_ns), MSG_NOSIGNAL);
    struct sample begin = sample_at(window.begin_ns, runners, count);
    struct sample end = sample_at(window.end_ns, runners, count);
    uint64_t window_ns = end.time_ns - begin.time_ns;
    return (struct run_cost){
        .client_cpu_ns_per_second = rate(begin.client_cpu_ns, end.client_cpu_ns, window_ns),
        .server_cpu_ns_per_second = runners->options->server_pid
                                        ? rate(begin.server_cpu_ns, end.server_cpu_ns, window_ns)
                                        : -1,
    };
}

int runners_run(const struct bench_options *options, struct client_result *results,
                struct run_cost *ret_cost)
{
    (void)process_raise_descriptors(options->clients * DESCRIPTORS_EACH + DESCRIPTORS_OTHER);
    CLEANUP_FREE struct runner *runners = calloc(options->clients, sizeof(*runners));
    if (!runners)
        return -ENOMEM;
    for (unsigned int i = 0; i < options->clients; i++)
        runners[i] = (struct runner){
            .options = options,
            .result = &results[i],
            .index = i,
            .main_socket = -1,
            .client_socket = -1,
        };
    int error = runners_connect(runners, options->clients);
    if (error == 0)
        *ret_cost = runners_measure(runners, options->clients);
    for (unsigned int i = 0; i < options->clients; i++) {
        if (runners[i].main_socket >= 0) /* also for one that still waits for its beginning */
            (void)shutdown(runners[i].main_socket, SHUT_RDWR);
    }
    for (unsigned int i = 0; i < options->clients; i++) {
        int r = runner_finish(&runners[i]);
        error = error ? error : r;
    }
    return error;
}
