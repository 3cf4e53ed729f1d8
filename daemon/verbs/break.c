/* SPDX-License-Identifier: MIT */
/*
 * What only an administrator may do to others: break locks (contract L6) and evict sessions.
 *
 * Breaking: the holders' changes are refused from the first moment on; when what they have in
 * flight has ended, their locks fall and the next in the queue has them. That goes on whether or
 * not the one who asked still waits for it.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "daemon/base/log.h"
#include "daemon/device/hold.h"
#include "daemon/device/session.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

struct breaking {
    struct worker *worker;
    struct request *request; /* NULL: answered already */
    struct device *device;   /* held */
    struct user *user;       /* a reference */
    uint64_t session;        /* 0: all */
    uint64_t number;         /* of this break */
    unsigned int broken;
    struct drain drain;
    struct guard_wait guard;
    struct loop_timer deadline;
};

bool admin_may(struct request *request)
{
    if (access_is_trusted(&request->conn->peer))
        return true;
    request_fail(request, -EPERM, "permitted only to root and the daemon's own user");
    return false;
}

static void break_free(struct breaking *breaking)
{
    struct worker *worker = breaking->worker;
    loop_timer_deinit(&breaking->deadline);
    hold_drop(breaking->device);
    (void)user_unref(&worker->server->users, breaking->user);
    loop_release(&worker->io.base);
    free(breaking);
}

static void break_log(const struct breaking *breaking, const char *event)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_NOTICE, event);
    log_number(&line, "device", breaking->device->number);
    log_text(&line, "path", breaking->device->path);
    if (breaking->session != 0)
        log_number(&line, "session", breaking->session);
    log_number(&line, "locks", breaking->broken);
    if (breaking->request != NULL)
        peer_log(&breaking->request->conn->peer, &line);
    log_end(&line);
}

static void on_break_settled(struct guard_wait *wait, enum guard_mode kept, int result)
{
    struct breaking *breaking = CONTAINER_OF(wait, struct breaking, guard);
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__BreakLockReply body = BLKD__BREAK_LOCK_REPLY__INIT;
    struct request *request = breaking->request;
    (void)kept;
    (void)result;
    break_log(breaking, "locks-broken");
    body.broken = breaking->broken;
    reply.body_case = BLKD__REPLY__BODY_BREAK_LOCK;
    reply.break_lock = &body;
    break_free(breaking);
    if (request != NULL)
        request_reply(request, &reply);
}

static void on_break_drained(struct drain *drain)
{
    struct breaking *breaking = CONTAINER_OF(drain, struct breaking, drain);
    breaking->broken =
        session_locks_revoke(breaking->device, breaking->number, SESSION_EVENT_LOCK_BROKEN);
    breaking->guard = (struct guard_wait){.loop = &breaking->worker->io,
                                          .user_share = &breaking->user->helper_share,
                                          .on_done = on_break_settled};
    guard_settle(breaking->device, &breaking->guard);
}

/* The one who asked is told; the breaking goes on. */
static void on_break_deadline(struct loop_timer *timer)
{
    struct breaking *breaking = CONTAINER_OF(timer, struct breaking, deadline);
    struct request *request = TAKE_PTR(breaking->request);
    pthread_mutex_lock(&breaking->device->mutex);
    unsigned int in_flight = drain_gate_count(&breaking->device->transfers);
    pthread_mutex_unlock(&breaking->device->mutex);
    request_fail(
        request, -ETIMEDOUT,
        "breaking locks of %s: %u requests are still in flight, the device may be hung; changes by "
        "the holders are already refused, and the locks will be released when those requests end",
        breaking->device->path, in_flight);
}

static void break_begin(struct breaking *breaking)
{
    relations_enter(breaking->device);
    unsigned int count = session_locks_doom(breaking->device, breaking->session, &breaking->number);
    bool wait = count > 0 && drain_gate_wait(&breaking->device->transfers, &breaking->drain);
    relations_leave(breaking->device);
    if (!wait)
        on_break_drained(&breaking->drain);
}

int break_lock_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->break_lock->device;
    request->asked.offset_bytes = message->break_lock->session;
    request->asked.length_bytes = message->break_lock->wait_ms;
    return 0;
}

static int break_start_clock(struct breaking *breaking, uint64_t wait_ms)
{
    if (wait_ms == 0)
        return 0;
    breaking->deadline.on_time = on_break_deadline;
    return loop_timer_set(&breaking->deadline, &breaking->worker->io.base, (unsigned int)wait_ms);
}

void break_lock_run(struct request *request)
{
    struct worker *worker = request->conn->worker;
    if (!admin_may(request))
        return;
    struct device *device = registry_find(&worker->server->registry, request->asked.value);
    if (device == NULL) {
        request_fail(request, -ENODEV, "breaking locks: device %llu is not open",
                     (unsigned long long)request->asked.value);
        return;
    }
    struct breaking *breaking = calloc(1, sizeof(*breaking));
    if (breaking == NULL) {
        hold_drop(device);
        request_finish(request, -ENOMEM);
        return;
    }
    loop_hold(&worker->io.base);
    *breaking = (struct breaking){.worker = worker, .request = request, .device = device};
    breaking->user = user_ref(&worker->server->users, request->conn->peer.uid);
    breaking->session = request->asked.offset_bytes;
    breaking->drain = (struct drain){.loop = &worker->io.base, .on_done = on_break_drained};
    if (break_start_clock(breaking, request->asked.length_bytes) < 0) {
        break_free(breaking);
        request_finish(request, -ENOMEM);
        return;
    }
    break_begin(breaking);
}

/* ---- evict ---- */

struct evicting {
    struct request *request;
    struct session_ending ending;
};

int evict_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->evict->session;
    return 0;
}

static void on_evicted(struct letter *letter)
{
    struct session_ending *ending = CONTAINER_OF(letter, struct session_ending, letter);
    struct evicting *evicting = CONTAINER_OF(ending, struct evicting, ending);
    request_finish(evicting->request, 0);
}

static void evict_log(const struct request *request)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_NOTICE, "session-evicted");
    log_number(&line, "session", request->asked.value);
    peer_log(&request->conn->peer, &line);
    log_end(&line);
}

void evict_run(struct request *request)
{
    struct worker *worker = request->conn->worker;
    if (!admin_may(request))
        return;
    struct evicting *evicting = calloc(1, sizeof(*evicting));
    if (evicting == NULL) {
        request_finish(request, -ENOMEM);
        return;
    }
    request->extra = evicting;
    evicting->request = request;
    evicting->ending =
        (struct session_ending){.loop = &worker->io.base, .letter.deliver = on_evicted};
    if (registry_evict(&worker->server->registry, request->asked.value, &evicting->ending))
        evict_log(request);
    else
        request_fail(request, -ENOENT, "evict: session %llu does not exist",
                     (unsigned long long)request->asked.value);
}
