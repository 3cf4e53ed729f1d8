/* SPDX-License-Identifier: MIT */
#include "daemon/link/parting.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/ring.h"
#include "daemon/link/piece.h"
#include "daemon/link/worker.h"

struct parting {
    struct worker *worker;
    LIST_ENTRY(parting) link;
    struct parting_estate estate;
    struct event *doorbell;
    struct event *process;
    struct loop_timer timer;
};

static void estate_give_back(struct worker *worker, const struct parting_estate *estate)
{
    for (unsigned int i = 0; i < ARENAS_PER_CONNECTION; i++)
        piece_give_back(estate->arenas[i]);
    piece_give_back(estate->rings);
    if (estate->doorbell_fd >= 0)
        (void)close(estate->doorbell_fd);
    if (estate->process_fd >= 0) {
        (void)close(estate->process_fd);
        atomic_fetch_sub(&worker->server->watched, 1);
    }
}

static bool estate_is_needed(const struct parting_estate *estate)
{
    if (estate->rings != NULL && ring_has_moved(estate->rings->base))
        return false;
    for (unsigned int i = 0; i < ARENAS_PER_CONNECTION; i++)
        if (estate->arenas[i] != NULL)
            return true;
    return false;
}

static void parting_end(struct parting *parting)
{
    LIST_REMOVE(parting, link);
    if (parting->doorbell != NULL)
        event_free(parting->doorbell);
    if (parting->process != NULL)
        event_free(parting->process);
    loop_timer_deinit(&parting->timer);
    estate_give_back(parting->worker, &parting->estate);
    free(parting);
}

void parting_end_all(struct worker *worker)
{
    struct parting *parting = NULL;
    while ((parting = LIST_FIRST(&worker->partings)) != NULL)
        parting_end(parting);
}

/* Never read: see channel.c. */
static void on_parting_doorbell(evutil_socket_t fd, short what, void *user_data)
{
    struct parting *parting = user_data;
    (void)fd;
    (void)what;
    if (!estate_is_needed(&parting->estate))
        parting_end(parting);
}

static void on_parting_process_ended(evutil_socket_t fd, short what, void *user_data)
{
    (void)fd;
    (void)what;
    parting_end(user_data);
}

static void on_parting_time(struct loop_timer *timer)
{
    parting_end(CONTAINER_OF(timer, struct parting, timer));
}

/* What cannot be watched is not: the time is what counts then. */
static struct event *parting_watch(struct parting *parting, int fd, short what,
                                   event_callback_fn callback)
{
    struct event *event =
        fd < 0 ? NULL : event_new(parting->worker->io.base.events, fd, what, callback, parting);
    if (event != NULL && event_add(event, NULL) < 0) {
        event_free(event);
        return NULL;
    }
    return event;
}

void parting_begin(struct worker *worker, const struct parting_estate *estate)
{
    struct parting *parting = NULL;
    if (!worker->stopping && estate_is_needed(estate))
        parting = calloc(1, sizeof(*parting));
    if (parting == NULL) {
        estate_give_back(worker, estate);
        return;
    }
    parting->worker = worker;
    parting->estate = *estate;
    parting->timer.on_time = on_parting_time;
    LIST_INSERT_HEAD(&worker->partings, parting, link);
    if (loop_timer_set(&parting->timer, &worker->io.base, PARTING_MS) < 0) {
        parting_end(parting);
        return;
    }
    /* The doorbell has been rung before, mostly: it is looked at once in any case. */
    parting->doorbell = parting_watch(parting, estate->doorbell_fd, EV_READ | EV_ET | EV_PERSIST,
                                      on_parting_doorbell);
    parting->process =
        parting_watch(parting, estate->process_fd, EV_READ, on_parting_process_ended);
}
