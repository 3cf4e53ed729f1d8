/* SPDX-License-Identifier: MIT */
#include "daemon/link/server.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/link/worker.h"

/* Watching the clients' processes (conn_start.c) costs a descriptor each. It takes no more than a
 * part of all, so that it leaves enough to those who connect and open devices. */
enum { SERVER_WATCHED_PART = 4 };

static unsigned int server_watched_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    rlim_t part = limit.rlim_cur / SERVER_WATCHED_PART;
    return part < UINT_MAX ? (unsigned int)part : UINT_MAX;
}

static int server_make_instance(struct server *server)
{
    struct timespec now;
    if (getrandom(server->instance, sizeof(server->instance), 0) !=
        (ssize_t)sizeof(server->instance))
        return -EIO;
    /* Nothing of a session survives the daemon yet, so that the time of its start is epoch enough.
     */
    (void)clock_gettime(CLOCK_REALTIME, &now);
    server->session_epoch = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return 0;
}

static int server_make_registry(struct server *server, unsigned int workers)
{
    server->loops = calloc(workers, sizeof(struct io_loop *));
    if (server->loops == NULL)
        return -ENOMEM;
    const struct commons commons = {.state = server->state,
                                    .users = &server->users,
                                    .sink = &server->watch.sink,
                                    .loops = server->loops,
                                    .loop_count = workers,
                                    .locks_per_uid = server->limits.locks_per_uid};
    registry_init(&server->registry, &commons);
    return 0;
}

int server_init(struct server *server, const struct server_options *options)
{
    *server = (struct server){.limits = options->limits,
                              .operations = options->operations,
                              .state = options->state,
                              .version = options->version,
                              .watched_max = server_watched_max()};
    user_table_init(&server->users);
    watch_hub_init(&server->watch);
    int error = server_make_instance(server);
    if (error == 0)
        error = server_make_registry(server, options->workers);
    if (error == 0)
        error = mailbox_init(&server->mailbox);
    if (error == 0)
        error = helper_new(HELPER_THREADS_MAX, "helper", &server->helpers);
    return error;
}

/* Which engine runs, and if it is not the one that was to be preferred, why. */
static void server_log_engine(const struct server *server, int fallback)
{
    struct log_line line;
    log_begin(&line, fallback < 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "engine");
    log_text(&line, "engine", server->engine_name);
    if (fallback < 0) {
        log_text(&line, "message", "io_uring is not available on this system; using threads");
        log_errno(&line, fallback);
    }
    log_end(&line);
}

static int server_make_worker(struct server *server, const char *engine_choice)
{
    struct worker *worker = &server->workers[server->worker_count];
    struct engine *engine = NULL;
    int fallback = 0;
    int error = engine_new(engine_choice, &engine, &fallback);
    if (error < 0)
        return error;
    if (server->worker_count == 0) {
        server->engine_name = engine_name(engine);
        server_log_engine(server, fallback);
    }
    error = worker_init(worker, server, server->worker_count, engine);
    if (error < 0)
        return error;
    server->loops[server->worker_count++] = &worker->io;
    return 0;
}

int server_start(struct server *server, const struct server_options *options,
                 void (*on_worker_ended)(struct letter *letter))
{
    int error = 0;
    server->workers = calloc(options->workers, sizeof(*server->workers));
    if (server->workers == NULL)
        return -ENOMEM;
    while (error == 0 && server->worker_count < options->workers)
        error = server_make_worker(server, options->engine);
    for (unsigned int i = 0; error == 0 && i < server->worker_count; i++) {
        server->workers[i].ended_letter.deliver = on_worker_ended;
        error = worker_start(&server->workers[i]);
    }
    return error;
}

void server_deinit(struct server *server)
{
    for (unsigned int i = 0; i < server->worker_count; i++)
        worker_deinit(&server->workers[i]);
    registry_deinit(&server->registry);
    server->helpers = helper_free(server->helpers);
    user_table_deinit(&server->users);
    watch_hub_deinit(&server->watch);
    mailbox_deinit(&server->mailbox);
    free(server->workers);
    free(server->loops);
}
