/* SPDX-License-Identifier: MIT */
/*
 * blkd-bench: how fast a device is through one way of reaching it. Starts the clients, each on its
 * own thread or in its own process, lets all begin at one moment once all are connected, and
 * reports.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "common/cleanup.h"
#include "tests/bench/calibrate.h"
#include "tests/bench/client.h"
#include "tests/bench/report.h"

enum {
    EXIT_USAGE = 2,
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
    if (runner->main_socket >= 0) /* a client that still waits for its beginning is told to go */
        (void)shutdown(runner->main_socket, SHUT_RDWR);
    int r = runner->started ? runner_join(runner) : 0;
    cleanup_close(&runner->main_socket);
    cleanup_close(&runner->client_socket);
    return r < 0 ? r : runner->result->error;
}

static int runners_start(struct runner *runners, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        int r = runner_start(&runners[i]);
        if (r < 0) {
            warnx("cannot start client %u: %s", i, strerror(-r));
            return r;
        }
    }
    for (unsigned int i = 0; i < count; i++) {
        int r = runner_wait_connected(&runners[i]);
        if (r < 0)
            return r; /* the client has said why */
    }
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC) + START_DELAY_NS + count * START_DELAY_EACH_NS;
    for (unsigned int i = 0; i < count; i++)
        (void)send(runners[i].main_socket, &start_ns, sizeof(start_ns), MSG_NOSIGNAL);
    return 0;
}

/* Every client's result in `results`; the first error of any. */
static int run_clients(const struct bench_options *options, struct client_result *results)
{
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
    int error = runners_start(runners, options->clients);
    for (unsigned int i = 0; i < options->clients; i++) {
        int r = runner_finish(&runners[i]);
        error = error ? error : r;
    }
    return error;
}

/* One client goes through the whole device, writing the pattern or checking it. */
static int run_pass(const struct bench_options *options, enum workload_type workload)
{
    struct bench_options pass = *options;
    pass.workload = workload;
    pass.clients = 1;
    struct client_result result = {0};
    struct client *client;
    int r = client_new(&pass, 0, &result, &client);
    if (r < 0)
        return r;
    r = client_pass(client);
    client_free(client);
    return r;
}

static int run(const struct bench_options *options, struct client_result *results,
               struct idle_cost *idle_cost)
{
    struct idle *idle = NULL;
    int r = options->verify ? run_pass(options, WORKLOAD_WRITE) : 0;
    if (r == 0 && options->idle)
        r = idle_start(options, idle_cost, &idle);
    if (r == 0)
        r = run_clients(options, results);
    idle_stop(idle);
    if (r == 0 && options->verify)
        r = run_pass(options, WORKLOAD_READ);
    return r;
}

/* What was found out, for the report. */
struct findings {
    struct summary summary;
    struct idle_cost idle;
};

static void report(const struct bench_options *options, const struct findings *findings)
{
    const struct summary *summary = findings ? &findings->summary : NULL;
    const struct idle_cost *idle = findings && options->idle ? &findings->idle : NULL;

    struct calibration calibration;
    bool calibrated = false;
    if (options->calibrate || (options->json && !options->no_calibration)) {
        int r = calibrate(&calibration);
        if (r < 0)
            warnx("cannot measure the machine: %s", strerror(-r));
        calibrated = r == 0;
    }
    if (options->json) {
        report_json(options, summary, idle, calibrated ? &calibration : NULL);
        return;
    }
    if (summary)
        report_plain(options, summary);
    if (idle)
        report_idle(options, idle);
    if (calibrated)
        report_calibration(&calibration);
}

static int bench(const struct bench_options *options)
{
    size_t length = options->clients * sizeof(struct client_result);
    struct client_result *results =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CLEANUP_FREE struct findings *findings = calloc(1, sizeof(*findings));
    int r = results == MAP_FAILED || !findings ? -ENOMEM : run(options, results, &findings->idle);
    if (r == -ENOMEM)
        warnx("out of memory");
    if (results != MAP_FAILED && findings) {
        summary_make(options, results, &findings->summary);
        if (r == 0 || findings->summary.failed_ops)
            report(options, findings);
    }
    if (results != MAP_FAILED)
        (void)munmap(results, length);
    return r;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    int r = options_parse(argc, argv, &options);
    if (r)
        return r == OPTIONS_EXIT ? EXIT_SUCCESS : EXIT_USAGE;
    if (options.tier)
        (void)unsetenv("BLKD_TIER"); /* libblkd would believe it more than the option */
    uint64_t cpu_ns;
    if (options.server_pid && process_read_cpu(options.server_pid, &cpu_ns) < 0) {
        warnx("--server-pid=%d: there is no such process", (int)options.server_pid);
        return EXIT_USAGE;
    }
    if (!options.target) {
        report(&options, NULL);
        return EXIT_SUCCESS;
    }
    (void)process_raise_descriptors(options.clients * DESCRIPTORS_EACH + DESCRIPTORS_OTHER);
    return bench(&options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
