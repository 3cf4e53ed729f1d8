/* SPDX-License-Identifier: MIT */
/*
 * blkd: options, start, and stop. The main thread accepts clients and waits for signals; the
 * workers do the rest.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/container.h"
#include "common/standard.h"
#include "daemon/base/log.h"
#include "daemon/base/privileges.h"
#include "daemon/base/sigbus.h"
#include "daemon/base/system.h"
#include "daemon/config.h"
#include "daemon/engine/engine.h"
#include "daemon/link/listener.h"
#include "daemon/link/server.h"
#include "daemon/link/worker.h"
#include "daemon/service.h"
#include "daemon/signals.h"
#include "daemon/state/state.h"
#include "daemon/verbs/verbs.h"
#include "daemon/version.h"

/* Exit codes, beside 0; docs/blkd.8. */
enum {
    EXIT_FAILED = 1, /* could not start, or not stop in time, or a sync failed */
    EXIT_USAGE = 2,  /* options or configuration are wrong */
    EXIT_IN_USE = 3, /* another daemon has the socket or the state directory */
};

/* What the daemon handles; signals.h has the others. */
enum { SIGNALS = 4 };
static const int signals[SIGNALS] = {SIGTERM, SIGINT, SIGXCPU, SIGHUP};

struct process {
    struct config config;
    struct state *state;
    struct server server;
    struct listener listener;
    struct event_base *base;
    struct event *mailbox_event;
    struct event *signal_events[SIGNALS];
    bool has_terminal; /* at the start: when it hangs up, there is none any more */
    struct event *drain_timer;
    unsigned int workers_running;
    bool stopping;
};

static const char usage_text[] =
    "Usage: blkd [OPTION]...\n"
    "Owns open block devices and disk images and serves them on a Unix socket.\n"
    "\n"
    "  --socket PATH        listen here (default: $BLKD_SOCKET, else /run/blkd/blkd.sock for\n"
    "                       root, else $XDG_RUNTIME_DIR/blkd.sock)\n"
    "  --state-dir DIR      keep persistent state here, not shared with another daemon\n"
    "                       (default: $STATE_DIRECTORY, else /var/lib/blkd for root,\n"
    "                       else $XDG_STATE_HOME/blkd, else ~/.local/state/blkd)\n"
    "  --config FILE        read this configuration file (default: " CONFIG_DEFAULT_FILE ",\n"
    "                       if it exists)\n"
    "  --workers N          threads that serve clients (default: half the CPUs, at least 1)\n"
    "  --engine NAME        auto, io_uring or threads (default: auto)\n"
    "  --busy-poll-us N     poll for at most N microseconds before sleeping; 0: do not poll\n"
    "                       (default: 100)\n"
    "  --log-level LEVEL    error, warning, notice, info or debug (default: info)\n"
    "  --check-config       check options and configuration and exit\n"
    "  --version            print the version and exit\n"
    "  --help               print this help and exit\n"
    "\n"
    "Exit codes: 0 stopped by a signal, all data flushed; 1 failure; 2 invalid options or\n"
    "configuration; 3 another daemon uses the socket or the state directory.\n"
    "See blkd(8), blkd.conf(5).\n";

enum { OPTION_CHECK = 256, OPTION_VERSION, OPTION_HELP, OPTION_CONFIG, OPTION_KEY };

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPTION_KEY},
    {"state-dir", required_argument, NULL, OPTION_KEY},
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"workers", required_argument, NULL, OPTION_KEY},
    {"engine", required_argument, NULL, OPTION_KEY},
    {"busy-poll-us", required_argument, NULL, OPTION_KEY},
    {"log-level", required_argument, NULL, OPTION_KEY},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static _Noreturn void usage_exit(const char *message)
{
    (void)fprintf(stderr, "blkd: %s\nSee 'blkd --help'.\n", message);
    exit(EXIT_USAGE);
}

/* Ends what only prints. Output that did not arrive is a failure, on /dev/full or a full disk. */
static _Noreturn void printed_exit(void)
{
    errno = 0;
    if (ferror(stdout) == 0 && fclose(stdout) == 0)
        exit(0);
    int error = errno;
    (void)fprintf(stderr, "blkd: cannot write to stdout: %s\n", strerror(error != 0 ? error : EIO));
    exit(EXIT_FAILED);
}

static _Noreturn void unexpected_argument(const char *argument)
{
    char message[CONFIG_MESSAGE_MAX];
    (void)snprintf(message, sizeof(message), "unexpected argument '%.400s'", argument);
    usage_exit(message);
}

/* The options that are keys of the configuration too, over what the file said. */
static void parse_keys(struct config *config, int argc, char **argv)
{
    char message[CONFIG_MESSAGE_MAX];
    int index = 0;
    int option = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (option == OPTION_KEY &&
            config_set(config, "daemon", long_options[index].name, optarg, message) < 0)
            usage_exit(message);
    }
}

static const char *parse_options(int argc, char **argv, bool *ret_check)
{
    const char *config_path = NULL;
    int option = 0;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case OPTION_KEY:
            break;
        case OPTION_CONFIG:
            config_path = optarg;
            break;
        case OPTION_CHECK:
            *ret_check = true;
            break;
        case OPTION_VERSION:
            (void)printf("blkd %s\n", BLKD_VERSION);
            printed_exit();
        case OPTION_HELP:
            (void)fputs(usage_text, stdout);
            printed_exit();
        default:
            (void)fputs("See 'blkd --help'.\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc)
        unexpected_argument(argv[optind]);
    return config_path;
}

static void configure(struct config *config, int argc, char **argv)
{
    char message[CONFIG_MESSAGE_MAX];
    bool check = false;
    const char *path = parse_options(argc, argv, &check);
    config_init(config);
    if (config_read_file(config, path != NULL ? path : CONFIG_DEFAULT_FILE, path != NULL, message) <
        0)
        usage_exit(message);
    parse_keys(config, argc, argv);
    int error = config->socket_path[0] == '\0' ? config_default_socket(config->socket_path) : 0;
    if (error < 0)
        usage_exit(error == -ENAMETOOLONG
                       ? "the default socket path is too long: use --socket"
                       : "no socket path: use --socket, or set $BLKD_SOCKET or $XDG_RUNTIME_DIR");
    error = config->state_dir[0] == '\0' ? config_default_state(config->state_dir) : 0;
    if (error < 0)
        usage_exit(error == -ENAMETOOLONG
                       ? "the path of the default state directory is too long: use --state-dir"
                       : "no state directory: use --state-dir, or set $XDG_STATE_HOME or $HOME");
    if (check) {
        (void)printf("blkd: the configuration is valid; socket: %s, state directory: %s\n",
                     config->socket_path, config->state_dir);
        printed_exit();
    }
}

/* Each connection and each device costs descriptors. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Without waiting for I/O. The socket goes first: the process may stay for as long as the kernel
 * cannot close a descriptor, and a successor shall not have to wait for that. */
static _Noreturn void give_up(struct process *process)
{
    listener_close(&process->listener);
    _exit(EXIT_FAILED);
}

static void on_drain_timeout(evutil_socket_t fd, short what, void *user_data)
{
    struct process *process = user_data;
    (void)fd;
    (void)what;
    log_message(LOG_LEVEL_ERROR, "stop-timeout",
                "%u of %u workers still have I/O in flight after %u ms; exiting without waiting, "
                "data may be lost",
                process->workers_running, process->server.worker_count,
                process->config.limits.drain_timeout_ms);
    give_up(process);
}

static void stop(struct process *process)
{
    const unsigned int ms = process->config.limits.drain_timeout_ms;
    const struct timeval limit = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    process->stopping = true;
    service_stopping();
    log_message(LOG_LEVEL_NOTICE, "stopping", "completing the requests in flight");
    listener_stop(&process->listener);
    for (unsigned int i = 0; i < process->server.worker_count; i++)
        worker_stop(&process->server.workers[i]);
    (void)event_add(process->drain_timer, &limit);
}

static void on_signal(evutil_socket_t number, short what, void *user_data)
{
    struct process *process = user_data;
    (void)number;
    (void)what;
    if (process->stopping) {
        log_message(LOG_LEVEL_ERROR, "stopped", "second signal: exiting without waiting for I/O");
        give_up(process);
    }
    stop(process);
}

/* Without a terminal it is a request to read the configuration again. From a terminal that is
 * closed it comes twice (its shell sends one too), so that no second one ends the wait for I/O. */
static void on_hangup(evutil_socket_t number, short what, void *user_data)
{
    struct process *process = user_data;
    (void)number;
    (void)what;
    if (!process->has_terminal)
        log_message(LOG_LEVEL_WARNING, "reload-refused",
                    "SIGHUP: the configuration is only read at start; restart the daemon");
    else if (!process->stopping)
        stop(process);
}

static void on_mail(evutil_socket_t fd, short what, void *user_data)
{
    struct process *process = user_data;
    (void)fd;
    (void)what;
    (void)mailbox_drain(&process->server.mailbox);
}

static void on_worker_ended(struct letter *letter)
{
    struct worker *worker = CONTAINER_OF(letter, struct worker, ended_letter);
    struct process *process = CONTAINER_OF(worker->server, struct process, server);
    worker_join(worker);
    if (--process->workers_running == 0)
        (void)event_base_loopexit(process->base, NULL);
}

/* libevent's own lines would not have the form of the log's. */
static void on_event_log(int severity, const char *message)
{
    log_message(severity >= EVENT_LOG_ERR    ? LOG_LEVEL_ERROR
                : severity == EVENT_LOG_WARN ? LOG_LEVEL_WARNING
                                             : LOG_LEVEL_DEBUG,
                "libevent", "%s", message);
}

static int add_signals(struct process *process)
{
    process->has_terminal = signals_have_terminal();
    for (unsigned int i = 0; i < SIGNALS; i++) {
        struct event *event = evsignal_new(process->base, signals[i],
                                           signals[i] == SIGHUP ? on_hangup : on_signal, process);
        if (event == NULL)
            return -ENOMEM;
        process->signal_events[i] = event;
        if (!(signals[i] == SIGHUP && signals_is_ignored(SIGHUP)) && event_add(event, NULL) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int add_events(struct process *process)
{
    process->base = event_base_new();
    if (process->base == NULL)
        return -ENOMEM;
    int error = add_signals(process);
    if (error < 0)
        return error;
    process->drain_timer = evtimer_new(process->base, on_drain_timeout, process);
    process->mailbox_event = event_new(process->base, mailbox_fd(&process->server.mailbox),
                                       EV_READ | EV_PERSIST, on_mail, process);
    if (process->drain_timer == NULL || process->mailbox_event == NULL ||
        event_add(process->mailbox_event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

static void tell_refusal(const char *event, const char *message, int error)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, event);
    log_text(&line, "message", message);
    log_errno(&line, error);
    log_end(&line);
}

/* What the daemon can do without, it goes without; and says so. */
static void check_system(struct config *config)
{
    int error = sigbus_init();
    if (error < 0) {
        config->limits.arena_mib_per_connection = 0;
        tell_refusal("rings-unavailable",
                     "no memory can be shared with clients (memfd_create); they use the socket",
                     error);
    }
    if (!privileges_can_lower())
        tell_refusal(
            "privileges-lent",
            "the blocks that a file system reserves for root are lent to clients (setfsuid "
            "needs CAP_SETUID)",
            -EPERM);
    error = system_check_pwritev2();
    if (error < 0)
        tell_refusal("pwritev2-unavailable", "pwritev2 is refused; FUA is a write and then a sync",
                     error);
}

static int start(struct process *process)
{
    struct server *server = &process->server;
    const struct server_options options = {.limits = process->config.limits,
                                           .operations = &verbs_table,
                                           .state = process->state,
                                           .workers = config_worker_count(&process->config),
                                           .engine = process->config.engine,
                                           .version = BLKD_VERSION};
    int error = engine_global_init();
    if (error == 0)
        error = server_init(server, &options);
    if (error == 0)
        error = add_events(process);
    if (error == 0)
        error = server_start(server, &options, on_worker_ended);
    process->workers_running = server->worker_count;
    if (error == 0)
        error = listener_start(&process->listener, server, process->base);
    return error;
}

static void announce(const struct process *process)
{
    char status[256];
    const char *path =
        process->listener.path[0] != '\0' ? process->listener.path : "the socket from systemd";
    (void)snprintf(status, sizeof(status), "Serving on %s with %u worker(s), %s engine", path,
                   process->server.worker_count, process->server.engine_name);
    struct log_line line;
    log_begin(&line, LOG_LEVEL_NOTICE, "started");
    log_text(&line, "version", BLKD_VERSION);
    log_text(&line, "socket", path);
    log_text(&line, "engine", process->server.engine_name);
    log_number(&line, "workers", process->server.worker_count);
    log_number(&line, "pid", (uint64_t)getpid());
    log_end(&line);
    service_ready(status);
}

static void tear_down(struct process *process)
{
    listener_close(&process->listener);
    event_free(process->mailbox_event);
    event_free(process->drain_timer);
    for (unsigned int i = 0; i < SIGNALS; i++)
        event_free(process->signal_events[i]);
    server_deinit(&process->server);
    engine_global_deinit();
    (void)state_close(process->state);
    event_base_free(process->base);
    libevent_global_shutdown();
}

/* The state directory, then the socket. The directory first: with it comes the certainty that a
 * killed daemon's I/O has landed, before which nobody is to be served. 0 or an exit code. */
static int take_places(struct process *process)
{
    char state_message[STATE_MESSAGE_MAX];
    char message[LISTENER_MESSAGE_MAX];
    int error = state_open(process->config.state_dir, &process->state, state_message);
    if (error < 0) {
        log_message(LOG_LEVEL_ERROR, "start-failed", "%s", state_message);
        return error == -EBUSY ? EXIT_IN_USE : EXIT_FAILED;
    }
    int passed_fd = service_socket();
    if (passed_fd < 0 && passed_fd != -ENOENT) {
        error = passed_fd;
        (void)snprintf(message, sizeof(message), "systemd did not pass exactly one Unix socket: %s",
                       strerror(-error));
    } else {
        error = listener_open(&process->listener, process->config.socket_path, passed_fd, message);
    }
    if (error < 0) {
        log_message(LOG_LEVEL_ERROR, "start-failed", "%s", message);
        process->state = state_close(process->state);
        return error == -EADDRINUSE ? EXIT_IN_USE : EXIT_FAILED;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct process process;
    if (standard_occupy() < 0)
        return EXIT_FAILED;
    configure(&process.config, argc, argv);
    log_init(process.config.log_level);
    event_set_log_callback(on_event_log);
    signals_ignore_harmless();
    raise_descriptor_limit();
    privileges_drop();

    int code = take_places(&process);
    if (code != 0)
        return code;
    check_system(&process.config);
    int error = start(&process);
    if (error < 0) {
        log_message(LOG_LEVEL_ERROR, "start-failed", "cannot start with engine %s: %s%s",
                    process.config.engine, strerror(-error),
                    error == -EAGAIN ? " (no thread: TasksMax=, RLIMIT_NPROC or RLIMIT_AS)" : "");
        listener_close(&process.listener);
        (void)state_close(process.state);
        return EXIT_FAILED;
    }
    announce(&process);
    (void)event_base_dispatch(process.base);
    bool failed = registry_has_failed(&process.server.registry);
    tear_down(&process);
    if (failed) {
        log_message(LOG_LEVEL_ERROR, "stopped",
                    "all requests are complete, but a sync failed: acknowledged writes may be lost "
                    "(see event=device-failed)");
        return EXIT_FAILED;
    }
    log_message(LOG_LEVEL_NOTICE, "stopped", "all requests are complete");
    return 0;
}
