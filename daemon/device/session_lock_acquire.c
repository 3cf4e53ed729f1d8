/* SPDX-License-Identifier: MIT */
/* How a session comes by a lock, step by step. session_lock.h says what it is for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "daemon/base/clock.h"
#include "daemon/device/session.h"
#include "daemon/device/session_lock_impl.h"
#include "daemon/state/state.h"

/* ---- the end of a request ---- */

/* The answer may be the last thing that kept the session. */
static void session_lock_end(struct session_lock *held, int result)
{
    bool gone = session_lock_mode(held) == LOCK_NONE;
    loop_timer_deinit(&held->deadline);
    loop_timer_deinit(&held->retry);
    held->state = SESSION_LOCK_IDLE;
    atomic_store(&held->outside, false);
    if (result == 0 && gone) { /* taken away while others' I/O was waited for */
        result = -ESTALE;
        held->refusal = REFUSAL_STALE;
        (void)snprintf(held->message, sizeof(held->message),
                       "the lock was granted and broken at once (lock break)");
    }
    if (result == 0) {
        session_lock_count(held);
        session_lock_tell(held, HAPPENING_LOCK_GRANTED, held->asked);
    }
    session_lock_log(held, LOG_LEVEL_INFO, result == 0 ? "lock-granted" : "lock-refused", result);
    if (gone)
        session_lock_forget(held);
    else if (result < 0)
        held->asked = LOCK_SHARED; /* an upgrade that failed */
    held->on_done(held, result);
    if (gone)
        free(held);
}

/* ---- step by step ---- */

static void session_lock_guard(struct session_lock *held);

static void on_lock_undone(struct guard_wait *wait, enum guard_mode kept, int result)
{
    struct session_lock *held = CONTAINER_OF(wait, struct session_lock, guard);
    (void)kept;
    (void)result;
    session_lock_end(held, held->result);
}

static void session_lock_settle(struct session_lock *held,
                                void (*on_done)(struct guard_wait *wait, enum guard_mode kept,
                                                int result))
{
    struct session *session = held->session;
    held->guard = (struct guard_wait){.loop = session->client.loop,
                                      .user_share = &session->client.user->helper_share,
                                      .on_done = on_done};
    guard_settle(session->device, &held->guard);
}

/* Takes back what was reserved; the guard follows, then the answer. */
static void session_lock_undo(struct session_lock *held, int result)
{
    struct lock_domain *domain = &held->session->device->commons->locks;
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    pthread_mutex_lock(&domain->mutex);
    if (held->lock.phase != LOCK_SETTLED)
        lock_cancel(&held->lock, &reserved);
    session_lock_wake(&reserved);
    pthread_mutex_unlock(&domain->mutex);
    loop_timer_cancel(&held->retry); /* it would settle the guard for this request once more */
    held->state = SESSION_LOCK_UNDO;
    held->result = result;
    session_lock_settle(held, on_lock_undone);
}

/* ---- related devices ---- */

static void on_lock_refreshed(struct refresh *refresh)
{
    session_lock_end(CONTAINER_OF(refresh, struct session_lock, refresh), 0);
}

/* Nobody else writes any more. A request that is given up from here on is granted all the same, and
 * released with its session. */
static void session_lock_refresh(struct session_lock *held)
{
    struct session *session = held->session;
    if (held->asked != LOCK_EXCLUSIVE) {
        session_lock_end(held, 0);
        return;
    }
    held->state = SESSION_LOCK_REFRESH;
    held->refresh = (struct refresh){.loop = session->client.loop,
                                     .user_share = &session->client.user->helper_share,
                                     .on_done = on_lock_refreshed};
    if (!refresh_begin(session->device, &held->refresh))
        session_lock_end(held, 0);
}

/* ---- others' transfers ---- */

/* What a grant waits for: of the device and those related to it. Outlives the request if that is
 * given up. */
struct lock_drains {
    struct session_lock *held; /* NULL: nobody waits any more */
    struct loop *loop;
    unsigned int count;
    struct drain drains[];
};

static void on_lock_drained(struct drain *drain)
{
    struct lock_drains *drains = drain->user_data;
    struct session_lock *held = drains->held;
    if (--drains->count > 0)
        return;
    loop_release(drains->loop);
    free(drains);
    if (held != NULL) {
        held->drains = NULL;
        session_lock_refresh(held);
    }
}

static int session_lock_make_drains(struct session_lock *held)
{
    size_t count = (size_t)held->session->device->relations.count + 1;
    held->drains = calloc(1, sizeof(*held->drains) + count * sizeof(held->drains->drains[0]));
    if (held->drains == NULL)
        return -ENOMEM;
    held->drains->held = held;
    held->drains->loop = &held->session->client.loop->base;
    return 0;
}

static void session_lock_drain_one(struct lock_drains *drains, struct device *device)
{
    struct drain *drain = &drains->drains[drains->count];
    *drain = (struct drain){.loop = drains->loop, .on_done = on_lock_drained, .user_data = drains};
    if (drain_gate_wait(&device->transfers, drain))
        drains->count++;
}

/* With what relations_enter takes. */
static void session_lock_drain(struct session_lock *held)
{
    struct device *device = held->session->device;
    struct lock_drains *drains = held->drains;
    session_lock_drain_one(drains, device);
    for (unsigned int i = 0; i < device->relations.count; i++)
        session_lock_drain_one(drains, device->relations.devices[i]);
    if (drains->count > 0)
        loop_hold(drains->loop);
    else
        free(TAKE_PTR(held->drains));
}

/* Others' transfers are not waited for any longer: what was granted is taken back. */
static void session_lock_take_back(struct session_lock *held, int result)
{
    struct device *device = held->session->device;
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    TAKE_PTR(held->drains)->held = NULL;
    relations_enter(device);
    if (held->lock.held == LOCK_EXCLUSIVE && held->before == LOCK_SHARED)
        lock_downgrade(&held->lock, &reserved);
    else if (held->lock.held != LOCK_NONE && held->before == LOCK_NONE)
        lock_release(&held->lock, &reserved);
    session_lock_wake(&reserved);
    relations_leave(device);
    held->state = SESSION_LOCK_UNDO;
    held->result = result;
    session_lock_settle(held, on_lock_undone);
}

/* -EAGAIN: the guard has become too weak meanwhile, by another's request that failed. */
static int session_lock_hold_entered(struct session_lock *held)
{
    if (held->lock.phase != LOCK_RESERVED)
        return -ESTALE;
    if (held->session->device->guard.kept < guard_for(held->asked))
        return -EAGAIN;
    int error = session_lock_make_drains(held);
    if (error < 0)
        return error;
    if (held->losses == held->session->losses.count)
        session_lock_forgive(held->session, held->lock.range);
    lock_hold(&held->lock);
    held->since_unix_ms = clock_unix_ms();
    session_lock_drain(held);
    return 0;
}

/* From here on nobody else's conflicting I/O begins; what began before ends before the answer
 * (contract L2). */
static void session_lock_hold(struct session_lock *held, uint64_t token)
{
    struct device *device = held->session->device;
    relations_enter(device);
    int error = session_lock_hold_entered(held);
    if (error == 0)
        held->token = token;
    relations_leave(device);
    held->state = SESSION_LOCK_DRAIN;
    if (error == -EAGAIN)
        session_lock_guard(held);
    else if (error < 0)
        session_lock_undo(held, error);
    else if (held->drains == NULL)
        session_lock_refresh(held);
}

static int session_lock_isolate_entered(struct session_lock *held, bool isolates)
{
    if (held->lock.held != LOCK_EXCLUSIVE || held->lock.isolates == isolates)
        return 0;
    int error = session_lock_make_drains(held);
    if (error < 0)
        return error;
    lock_isolate(&held->lock, isolates);
    session_lock_drain(held);
    return 0;
}

/* It has the mode already. Whether others can read may be new: what they read ends first. */
static void session_lock_keep(struct session_lock *held, bool isolates)
{
    struct device *device = held->session->device;
    held->state = SESSION_LOCK_DRAIN;
    relations_enter(device);
    if (held->lock.held != LOCK_NONE)
        session_lock_forgive(held->session, held->lock.range);
    int error = session_lock_isolate_entered(held, isolates);
    relations_leave(device);
    if (held->drains == NULL)
        session_lock_end(held, error);
}

/* ---- the token ---- */

static void session_lock_token(struct session_lock *held);

static void on_token_run(struct helper_job *job)
{
    struct session_lock *held = CONTAINER_OF(job, struct session_lock, token_job);
    held->result = state_reserve_tokens(held->session->device->commons->state, held->guard.message);
}

static void on_token_reserved(struct helper_job *job)
{
    struct session_lock *held = CONTAINER_OF(job, struct session_lock, token_job);
    if (held->abandoned) {
        session_lock_undo(held, -ECANCELED);
    } else if (held->result < 0) {
        (void)snprintf(held->message, sizeof(held->message), "cannot store a fencing token: %s",
                       held->guard.message);
        session_lock_undo(held, -EIO);
    } else {
        session_lock_token(held);
    }
}

static void session_lock_token(struct session_lock *held)
{
    struct commons *commons = held->session->device->commons;
    struct loop *loop = &held->session->client.loop->base;
    uint64_t token = 0;
    if (held->asked != LOCK_EXCLUSIVE || state_take_token(commons->state, &token) == 0) {
        tokens_reserve_ahead(&commons->tokens, loop);
        session_lock_hold(held, token);
        return;
    }
    held->state = SESSION_LOCK_TOKEN;
    held->token_job = (struct helper_job){.run = on_token_run, .on_done = on_token_reserved};
    loop_submit(loop, &held->token_job);
}

/* ---- the outside world ---- */

static void on_lock_retry(struct loop_timer *timer)
{
    struct session_lock *held = CONTAINER_OF(timer, struct session_lock, retry);
    if (held->state == SESSION_LOCK_OUTSIDE)
        session_lock_guard(held);
}

/* Outside holders send no word when they let go: one looks again, less and less often (L3). */
static void session_lock_wait_outside(struct session_lock *held, int result)
{
    held->result = result;
    held->retry_ms = held->retry_ms == 0 ? LOCK_RETRY_MIN_MS : held->retry_ms * 2;
    if (held->retry_ms > LOCK_RETRY_MAX_MS)
        held->retry_ms = LOCK_RETRY_MAX_MS;
    held->retry.on_time = on_lock_retry;
    if (loop_timer_set(&held->retry, &held->session->client.loop->base, held->retry_ms) < 0) {
        session_lock_undo(held, -ENOMEM);
        return;
    }
    held->state = SESSION_LOCK_OUTSIDE;
    held->waited = true;
    atomic_store(&held->outside, true);
}

static void on_lock_guarded(struct guard_wait *wait, enum guard_mode kept, int result)
{
    struct session_lock *held = CONTAINER_OF(wait, struct session_lock, guard);
    if (held->abandoned) {
        session_lock_undo(held, -ECANCELED);
    } else if (kept >= guard_for(held->asked)) {
        session_lock_token(held);
    } else {
        (void)snprintf(held->message, sizeof(held->message), "%s",
                       *wait->message != '\0' ? wait->message
                                              : "cannot lock it against other programs");
        held->refusal = wait->refusal;
        if (result == -EBUSY && held->may_wait)
            session_lock_wait_outside(held, result);
        else
            session_lock_undo(held, result == -EBUSY && held->waited ? -ETIMEDOUT
                                    : result < 0                     ? result
                                                                     : -EBUSY);
    }
}

static void session_lock_guard(struct session_lock *held)
{
    held->state = SESSION_LOCK_GUARD;
    session_lock_settle(held, on_lock_guarded);
}

/* ---- its turn ---- */

static enum lock_phase session_lock_phase(struct session_lock *held)
{
    struct lock_domain *domain = &held->session->device->commons->locks;
    pthread_mutex_lock(&domain->mutex);
    enum lock_phase phase = held->lock.phase;
    pthread_mutex_unlock(&domain->mutex);
    return phase;
}

static void on_lock_reserved(struct letter *letter)
{
    struct session_lock *held = CONTAINER_OF(letter, struct session_lock, letter);
    if (held->abandoned) {
        session_lock_undo(held, -ECANCELED);
    } else if (session_lock_phase(held) != LOCK_RESERVED) {
        (void)snprintf(held->message, sizeof(held->message),
                       "the shared lock was lost while its upgrade waited");
        held->refusal = REFUSAL_STALE;
        session_lock_undo(held, -ESTALE);
    } else {
        session_lock_guard(held);
    }
}

/* Takes it out of the queue; false: it has left it already, and its letter is on its way. */
static bool session_lock_leave_queue(struct session_lock *held)
{
    struct lock_domain *domain = &held->session->device->commons->locks;
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    pthread_mutex_lock(&domain->mutex);
    bool waiting = held->lock.phase == LOCK_WAITING;
    if (waiting) {
        if (!held->abandoned)
            session_lock_describe(lock_blocker(&held->lock), held->message, sizeof(held->message));
        held->refusal = REFUSAL_LOCKED_SESSION;
        lock_cancel(&held->lock, &reserved);
    }
    session_lock_wake(&reserved);
    pthread_mutex_unlock(&domain->mutex);
    return waiting;
}

/* Late for what is under way already; in time for what waits. */
static void on_lock_deadline(struct loop_timer *timer)
{
    struct session_lock *held = CONTAINER_OF(timer, struct session_lock, deadline);
    held->may_wait = false;
    held->waited = true;
    if (held->state == SESSION_LOCK_OUTSIDE) {
        session_lock_undo(held, -ETIMEDOUT);
    } else if (held->state == SESSION_LOCK_DRAIN) {
        (void)snprintf(held->message, sizeof(held->message),
                       "I/O of other sessions did not end in time");
        session_lock_take_back(held, -ETIMEDOUT);
    } else if (held->state == SESSION_LOCK_QUEUED && session_lock_leave_queue(held)) {
        session_lock_end(held, -ETIMEDOUT);
    }
}

static int session_lock_start_clock(struct session_lock *held, int wait_ms)
{
    if (wait_ms <= 0)
        return 0;
    held->deadline.on_time = on_lock_deadline;
    return loop_timer_set(&held->deadline, &held->session->client.loop->base,
                          (unsigned int)wait_ms);
}

static void session_lock_begin(struct session_lock *held, const struct session_lock_ask *ask)
{
    struct session *session = held->session;
    struct device *device = session->device;
    struct lock *blocker = NULL;
    pthread_mutex_lock(&device->commons->locks.mutex);
    pthread_mutex_lock(&device->mutex);
    held->losses = session->losses.count;
    pthread_mutex_unlock(&device->mutex);
    if (held->lock.held == LOCK_NONE)
        held->doomed = 0;
    enum lock_verdict verdict =
        held->lock.held == LOCK_SHARED
            ? lock_upgrade(&held->lock, ask->isolates, held->may_wait, &blocker)
            : lock_request(&device->locks, &held->lock, &session->lock, ask->range, ask->mode,
                           ask->isolates, held->may_wait, &blocker);
    if (blocker != NULL) {
        session_lock_describe(blocker, held->message, sizeof(held->message));
        held->refusal = REFUSAL_LOCKED_SESSION;
    }
    pthread_mutex_unlock(&device->commons->locks.mutex);
    if (verdict == LOCK_GRANTED) {
        session_lock_guard(held);
    } else if (verdict == LOCK_QUEUED) {
        held->state = SESSION_LOCK_QUEUED;
        held->waited = true;
        session_lock_tell(held, HAPPENING_LOCK_WAITS, ask->mode);
    } else {
        session_lock_end(held, verdict == LOCK_BUSY ? -EBUSY : -EDEADLK);
    }
}

/* ---- from outside ---- */

static void session_lock_prepare(struct session_lock *held, const struct session_lock_ask *ask)
{
    held->letter.deliver = on_lock_reserved;
    held->on_done = ask->on_done;
    held->user_data = ask->user_data;
    held->asked = ask->mode;
    held->before = session_lock_mode(held);
    held->may_wait = ask->wait_ms != 0;
    held->waited = false;
    held->abandoned = false;
    held->retry_ms = 0;
    held->message[0] = '\0';
    held->refusal = REFUSAL_NONE;
}

int session_lock_ask(struct session *session, const struct session_lock_ask *ask)
{
    session_lock_sweep(session);
    struct session_lock *held = session_lock_find(session, ask->range);
    if (held != NULL && held->state != SESSION_LOCK_IDLE)
        return -EALREADY;
    if (held == NULL) {
        int error = session_lock_new(session, ask, &held);
        if (error < 0)
            return error;
    }
    session_lock_prepare(held, ask);
    if (held->before == ask->mode)
        session_lock_keep(held, ask->isolates);
    else if (session_lock_start_clock(held, ask->wait_ms) < 0)
        session_lock_end(held, -ENOMEM);
    else
        session_lock_begin(held, ask);
    return 0;
}

void session_lock_cancel_all(struct session *session)
{
    struct session_lock *next = NULL;
    for (struct session_lock *held = TAILQ_FIRST(&session->locks); held != NULL; held = next) {
        next = TAILQ_NEXT(held, link);
        if (held->state == SESSION_LOCK_IDLE)
            continue;
        held->abandoned = true;
        if (held->state == SESSION_LOCK_OUTSIDE)
            session_lock_undo(held, -ECANCELED);
        else if (held->state == SESSION_LOCK_DRAIN)
            session_lock_take_back(held, -ECANCELED);
        else if (held->state == SESSION_LOCK_QUEUED && session_lock_leave_queue(held))
            session_lock_end(held, -ECANCELED);
    }
}
