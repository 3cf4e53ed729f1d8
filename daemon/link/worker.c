/* SPDX-License-Identifier: MIT */
#include "daemon/link/worker.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/container.h"
#include "common/limits.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/privileges.h"
#include "daemon/base/sigbus.h"
#include "daemon/base/thread.h"
#include "daemon/device/size_check.h"
#include "daemon/link/conn.h"
#include "daemon/link/request_pool.h"
#include "daemon/state/state.h"

enum {
    /* With rings busy, everything else is looked at after so many submissions. */
    WORKER_BUSY_LOOK = 64,
    /* Spinning, sockets are looked at this often while there are rings: it takes a system call. */
    WORKER_LOOK_NS = 5000,
    /* A client that has completions and sleeps is woken after this time without anything to do. */
    CLIENT_WAKE_NS = 2000,
    /* A channel on which nothing came for so long is not looked at any more. */
    CHANNEL_IDLE_NS = 1000000,
};

static void on_worker_mail(evutil_socket_t fd, short what, void *user_data)
{
    struct worker *worker = user_data;
    (void)fd;
    (void)what;
    worker->polling.activity += mailbox_drain(&worker->io.base.mailbox);
}

static void on_worker_engine(evutil_socket_t fd, short what, void *user_data)
{
    struct worker *worker = user_data;
    (void)fd;
    (void)what;
    unsigned int ended = engine_process(worker->io.engine);
    worker->polling.activity += ended;
    if (ended == 0) /* nothing ends the round, but a transfer may have to be tried again */
        engine_kick(worker->io.engine);
}

static void on_worker_stop(struct letter *letter)
{
    struct worker *worker = CONTAINER_OF(letter, struct worker, stop_letter);
    struct conn *conn = LIST_FIRST(&worker->conns);
    worker->stopping = true;
    parting_end_all(worker);
    while (conn != NULL) {
        struct conn *next = LIST_NEXT(conn, link);
        Blkd__ShuttingDown shutting_down = BLKD__SHUTTING_DOWN__INIT;
        Blkd__Event event = BLKD__EVENT__INIT;
        event.what_case = BLKD__EVENT__WHAT_SHUTTING_DOWN;
        event.shutting_down = &shutting_down;
        conn_queue_event(conn, &event);
        conn_drain(conn);
        conn = next;
    }
}

static void on_worker_look(evutil_socket_t fd, short what, void *user_data)
{
    struct worker *worker = user_data;
    (void)fd;
    (void)what;
    if (!worker->stopping)
        size_check_all(&worker->server->registry, &worker->io);
}

static int worker_add_look_timer(struct worker *worker)
{
    const struct timeval interval = {.tv_sec = LOOK_INTERVAL_MS / 1000,
                                     .tv_usec = LOOK_INTERVAL_MS % 1000 * 1000L};
    worker->look_timer = event_new(worker->io.base.events, -1, EV_PERSIST, on_worker_look, worker);
    if (worker->look_timer == NULL || event_add(worker->look_timer, &interval) < 0)
        return -ENOMEM;
    return 0;
}

static int worker_add_events(struct worker *worker)
{
    worker->mailbox_event = event_new(worker->io.base.events, mailbox_fd(&worker->io.base.mailbox),
                                      EV_READ | EV_PERSIST, on_worker_mail, worker);
    worker->engine_event = event_new(worker->io.base.events, engine_fd(worker->io.engine),
                                     EV_READ | EV_PERSIST, on_worker_engine, worker);
    if (worker->mailbox_event == NULL || worker->engine_event == NULL ||
        event_add(worker->mailbox_event, NULL) < 0 || event_add(worker->engine_event, NULL) < 0)
        return -ENOMEM;
    return worker->index == 0 ? worker_add_look_timer(worker) : 0;
}

int worker_init(struct worker *worker, struct server *server, unsigned int index,
                struct engine *engine)
{
    *worker = (struct worker){.server = server, .index = index};
    worker->stop_letter.deliver = on_worker_stop;
    LIST_INIT(&worker->conns);
    TAILQ_INIT(&worker->touched);
    TAILQ_INIT(&worker->rings.awake);
    TAILQ_INIT(&worker->rings.dirty);
    TAILQ_INIT(&worker->rings.due);
    STAILQ_INIT(&worker->memory.spare_requests);
    buffer_pool_init(&worker->memory.buffers);
    spin_init(&worker->polling.clients, spin_max_ns(server->limits.busy_poll_us));
    worker->polling.devices = worker->polling.clients;
    worker->io.engine = engine; /* its own, also when the rest fails */
    int error = loop_init(&worker->io.base, server->helpers);
    if (error < 0)
        return error;
    worker->memory.receive_buffer = malloc(WORKER_RECEIVE_BYTES);
    if (worker->memory.receive_buffer == NULL)
        return -ENOMEM;
    return worker_add_events(worker);
}

/* ---- a round ---- */

static void worker_publish(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->rings.dirty))
        channel_publish(TAILQ_FIRST(&worker->rings.dirty));
}

/* What is touched or submitted while others are looked at belongs to the same round: nothing may
 * wait for the next one, which can be long in coming. */
static void worker_end_round(struct worker *worker)
{
    bool ready = false;
    do {
        worker_publish(worker);
        while (!TAILQ_EMPTY(&worker->touched))
            conn_end_round(TAILQ_FIRST(&worker->touched));
        engine_kick(worker->io.engine);
        ready = engine_ready(worker->io.engine);
        if (ready)
            worker->polling.activity += engine_process(worker->io.engine);
    } while (ready || !TAILQ_EMPTY(&worker->touched) || !TAILQ_EMPTY(&worker->rings.dirty));
}

/* Those that are awake have their turn, one after another, until it is time to look at everything
 * else; whether anything was submitted. */
static bool worker_poll(struct worker *worker)
{
    bool found = false;
    for (unsigned int left = worker->rings.awake_count;
         left > 0 && worker->rings.since_look < WORKER_BUSY_LOOK; left--) {
        struct channel *channel = TAILQ_FIRST(&worker->rings.awake);
        if (channel == NULL)
            break;
        TAILQ_REMOVE(&worker->rings.awake, channel, awake_link);
        TAILQ_INSERT_TAIL(&worker->rings.awake, channel, awake_link);
        found = channel_poll(channel) || found;
    }
    return found;
}

static void worker_wake_clients(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->rings.due))
        channel_wake_client(TAILQ_FIRST(&worker->rings.due));
}

/* True if all of them will ring when there is something. */
static bool worker_let_sleep(struct worker *worker, uint64_t idle_since_ns)
{
    bool all = true;
    struct channel *channel = TAILQ_FIRST(&worker->rings.awake);
    while (channel != NULL) {
        struct channel *next = TAILQ_NEXT(channel, awake_link);
        if (channel->busy_ns > idle_since_ns || !channel_sleep(channel))
            all = false;
        channel = next;
    }
    return all;
}

/* Clients whose shared memory is not there any more. */
static void worker_refuse_lost(struct worker *worker)
{
    struct conn *conn = NULL;
    worker->losses = sigbus_losses();
    LIST_FOREACH (conn, &worker->conns, link) {
        if (conn->state != CONN_CLOSING && conn->channel != NULL && channel_is_lost(conn->channel))
            conn_refuse(conn, -EFAULT,
                        "the client removed pages from shared memory, and there is no memory to "
                        "replace them");
    }
}

/* Sockets, mailbox, timers, and clients that sleep: everything that is not looked at in each round
 * while rings are busy. */
static void worker_look(struct worker *worker, int flags)
{
    (void)event_base_loop(worker->io.base.events, EVLOOP_ONCE | flags);
    worker->rings.looked_ns = clock_ns();
    worker->rings.since_look = 0;
    if (worker->losses != sigbus_losses())
        worker_refuse_lost(worker);
    (void)worker_let_sleep(worker, worker->rings.looked_ns - CHANNEL_IDLE_NS);
    worker_end_round(worker);
}

static void worker_wake_if(struct worker *worker,
                           bool (*wakes)(const struct channel *channel, uint64_t now_ns))
{
    struct channel *channel = TAILQ_FIRST(&worker->rings.due);
    while (channel != NULL) {
        struct channel *next = TAILQ_NEXT(channel, due_link);
        if (wakes(channel, worker->rings.looked_ns))
            channel_wake_client(channel);
        channel = next;
    }
}

/* Clients that wait do not spin on this CPU. */
static void worker_tell_cpu(struct worker *worker, int cpu)
{
    struct channel *channel = NULL;
    TAILQ_FOREACH (channel, &worker->rings.awake, awake_link)
        ring_consumer_set_cpu(&channel->submissions, cpu);
}

static void worker_look_while_busy(struct worker *worker)
{
    worker_tell_cpu(worker, sched_getcpu());
    worker_wake_if(worker, channel_should_wake);
    worker_look(worker, EVLOOP_NONBLOCK);
}

/* How long devices take says nothing about clients. */
static struct spin *worker_spin_of(struct worker *worker)
{
    return engine_in_flight(worker->io.engine) > 0 ? &worker->polling.devices
                                                   : &worker->polling.clients;
}

/* A round that ends can complete what another client sleeps for. */
static void worker_sleep(struct worker *worker)
{
    worker_wake_clients(worker);
    worker_end_round(worker);
    bool sleep = worker_let_sleep(worker, UINT64_MAX) && TAILQ_EMPTY(&worker->rings.due);
    struct spin *spin = worker_spin_of(worker);
    uint64_t start_ns = clock_ns();
    worker_look(worker, sleep ? 0 : EVLOOP_NONBLOCK);
    spin_slept(spin, worker->rings.looked_ns - start_ns);
}

/* ---- polling before it sleeps ---- */

/* Whether something is to be done, as far as that is seen without a system call. */
static bool worker_glance(struct worker *worker)
{
    struct channel *channel = NULL;
    TAILQ_FOREACH (channel, &worker->rings.awake, awake_link) {
        if (channel_ready(channel))
            return true;
    }
    return engine_ready(worker->io.engine);
}

/* Looks again and again whether something is to be done: with rings mostly at those. */
static bool worker_spin_once(struct worker *worker, uint64_t start_ns, uint64_t now_ns)
{
    unsigned int before = worker->polling.activity;
    if (worker_glance(worker))
        return true;
    if (mailbox_ready(&worker->io.base.mailbox)) {
        worker->polling.activity += mailbox_drain(&worker->io.base.mailbox);
        return true;
    }
    if (worker->rings.awake_count > 0 && now_ns - worker->rings.looked_ns < WORKER_LOOK_NS) {
        spin_pause(now_ns - start_ns);
        return false;
    }
    worker_look(worker, EVLOOP_NONBLOCK);
    return worker->polling.activity != before;
}

static void worker_spin_for(struct worker *worker, struct spin *spin, uint64_t budget_ns)
{
    uint64_t start_ns = clock_ns();
    uint64_t last_ns = start_ns;
    worker->rings.looked_ns = start_ns;
    for (;;) {
        bool found = worker_spin_once(worker, start_ns, last_ns);
        uint64_t now_ns = clock_ns();
        if (found) {
            spin_found(spin, last_ns - start_ns);
            return;
        }
        if (now_ns - last_ns > SPIN_GAP_NS && !spin_lost_cpu())
            start_ns += now_ns - last_ns;
        if (now_ns - start_ns >= budget_ns) {
            spin_failed(spin);
            return;
        }
        if (now_ns - start_ns > CLIENT_WAKE_NS && !TAILQ_EMPTY(&worker->rings.due)) {
            worker_wake_clients(worker);
            worker_end_round(worker); /* sends it */
        }
        last_ns = now_ns;
    }
}

/* Who spins on its client's CPU keeps it from submitting. */
static bool worker_shares_cpu(struct worker *worker)
{
    int cpu = sched_getcpu();
    bool shares = worker->rings.awake_count > 0;
    struct channel *channel = NULL;
    worker_tell_cpu(worker, cpu);
    TAILQ_FOREACH (channel, &worker->rings.awake, awake_link)
        shares = shares && channel_shares_cpu(channel, cpu);
    return shares;
}

/* Polls for as long as it is worth it. */
static void worker_spin(struct worker *worker)
{
    struct spin *spin = worker_spin_of(worker);
    if (worker_shares_cpu(worker) || LIST_EMPTY(&worker->conns) ||
        engine_needs_cpu(worker->io.engine))
        return;
    uint64_t budget_ns = spin_begin(spin);
    if (budget_ns == 0 || !spin_enter())
        return;
    worker_spin_for(worker, spin, budget_ns);
    spin_leave();
}

/* A letter may still be there for a session that has gone, or for a device's guard. */
static bool worker_is_done(struct worker *worker)
{
    return worker->stopping && LIST_EMPTY(&worker->conns) && worker->io.base.pending == 0 &&
           mailbox_shut(&worker->io.base.mailbox);
}

/* A successor is to wait for this engine's I/O also if the process is killed (contract R3). */
static void worker_pin_state(struct worker *worker)
{
    const int fd = state_lock_fd(worker->server->state);
    int error = engine_pin(worker->io.engine, &worker->state_pin, &fd, 1);
    if (error == 0)
        return;
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "state-not-pinned");
    log_text(&line, "message",
             "if this daemon is killed, the next one cannot tell when this one's I/O has ended");
    log_errno(&line, error);
    log_end(&line);
}

static void worker_round(struct worker *worker)
{
    unsigned int before = worker->polling.activity;
    if (worker_poll(worker)) {
        worker_end_round(worker);
        if (worker->rings.since_look >= WORKER_BUSY_LOOK)
            worker_look_while_busy(worker);
        return;
    }
    worker_spin(worker);
    if (worker->polling.activity == before && !worker_glance(worker))
        worker_sleep(worker);
    else /* kept busy by others */
        worker_wake_if(worker, channel_wake_overdue);
    worker_end_round(worker);
}

static void *worker_run(void *user_data)
{
    struct worker *worker = user_data;
    privileges_lend_none();
    worker_pin_state(worker);
    worker_end_round(worker);
    while (!worker_is_done(worker))
        worker_round(worker);
    mailbox_post(&worker->server->mailbox, &worker->ended_letter);
    return NULL;
}

int worker_start(struct worker *worker)
{
    char name[THREAD_NAME_BYTES];
    (void)snprintf(name, sizeof(name), "worker-%u", worker->index);
    return thread_start(&worker->thread, name, worker_run, worker);
}

void worker_stop(struct worker *worker)
{
    loop_post(&worker->io.base, &worker->stop_letter);
}

void worker_join(struct worker *worker)
{
    (void)pthread_join(worker->thread, NULL);
}

void worker_deinit(struct worker *worker)
{
    request_pool_deinit(&worker->memory);
    if (worker->look_timer != NULL)
        event_free(worker->look_timer);
    if (worker->engine_event != NULL)
        event_free(worker->engine_event);
    if (worker->mailbox_event != NULL)
        event_free(worker->mailbox_event);
    worker->io.engine = engine_free(worker->io.engine);
    loop_deinit(&worker->io.base);
    buffer_pool_deinit(&worker->memory.buffers);
    wire_arena_deinit(&worker->memory.arena);
    free(worker->memory.receive_buffer);
}
