/* SPDX-License-Identifier: MIT */
#include "daemon/link/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/container.h"
#include "daemon/link/worker.h"
#include "daemon/state/state.h"

int server_init(struct server *server, const struct config *config, struct state *state)
{
    struct timespec now;
    *server = (struct server){.config = config, .state = state};
    if (getrandom(server->instance, sizeof(server->instance), 0) !=
        (ssize_t)sizeof(server->instance))
        return -EIO;
    /* Nothing of a session survives the daemon yet, so that the time of its start is epoch enough.
     */
    (void)clock_gettime(CLOCK_REALTIME, &now);
    server->session_epoch = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    registry_init(&server->registry);
    user_table_init(&server->users);
    watch_hub_init(&server->watch);
    int error = mailbox_init(&server->mailbox);
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
        log_text(&line, "message", "io_uring is refused here; threads do its work");
        log_errno(&line, fallback);
    }
    log_end(&line);
}

int server_start_workers(struct server *server)
{
    unsigned int count = config_worker_count(server->config);
    server->workers = calloc(count, sizeof(*server->workers));
    if (server->workers == NULL)
        return -ENOMEM;
    for (unsigned int i = 0; i < count; i++) {
        struct engine *engine = NULL;
        int fallback = 0;
        int error = engine_new(server->config->engine, &engine, &fallback);
        if (error < 0)
            return error;
        if (i == 0) {
            server->engine_name = engine_name(engine);
            server_log_engine(server, fallback);
        }
        error = worker_init(&server->workers[i], server, i, engine);
        if (error < 0)
            return error;
        server->worker_count++;
    }
    for (unsigned int i = 0; i < count; i++) {
        int error = worker_start(&server->workers[i]);
        if (error < 0)
            return error;
    }
    return 0;
}

static void on_reserve_run(struct helper_job *job)
{
    struct server *server = CONTAINER_OF(job, struct server, reserve_job);
    char message[STATE_MESSAGE_MAX];
    int error = state_reserve_tokens(server->state, message);
    if (error < 0)
        log_message(LOG_LEVEL_WARNING, "tokens-not-reserved", "%s", message);
}

static void on_reserve_done(struct helper_job *job)
{
    struct server *server = CONTAINER_OF(job, struct server, reserve_job);
    server->reserve_worker->pending--;
    atomic_store(&server->reserving, false);
}

void server_reserve_tokens(struct server *server, struct worker *worker)
{
    if (!state_tokens_low(server->state) || atomic_exchange(&server->reserving, true))
        return;
    server->reserve_worker = worker;
    server->reserve_job = (struct helper_job){.run = on_reserve_run, .on_done = on_reserve_done};
    worker->pending++;
    worker_submit_job(worker, &server->reserve_job);
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
}
