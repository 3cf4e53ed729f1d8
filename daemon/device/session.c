/* SPDX-License-Identifier: MIT */
#include "daemon/device/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/container.h"
#include "daemon/base/log.h"
#include "daemon/device/registry.h"

static void on_session_news(struct letter *letter);

/* ---- its beginning ---- */

static uint64_t session_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct session *session_new(struct device *device, const struct session_client *client,
                            uint64_t number, const char *path, const char *purpose,
                            const struct session_config *asked, bool read_write)
{
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->path = strdup(path);
    if (session->path == NULL) {
        free(session);
        return NULL;
    }
    (void)snprintf(session->purpose, sizeof(session->purpose), "%s", purpose);
    session->number = number;
    session->device = device;
    session->client = *client;
    session->asked = *asked;
    session->read_write = read_write;
    session->opened_unix_ms = session_now_ms();
    session->news.letter.deliver = on_session_news;
    TAILQ_INIT(&session->endings);
    TAILQ_INIT(&session->locks);
    drain_gate_init(&session->transfers);
    session->losses.range = LOCK_NOTHING;
    lock_owner_init(&session->lock, client->party);
    /* Whoever may only read would stop the owner's writes (contract L9). Root may write always. */
    if (client->user != NULL)
        lock_owner_belongs(&session->lock, &client->user->advisory_locks,
                           !read_write && client->user->uid != 0);
    return session;
}

void session_enter(struct session *session)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    TAILQ_INSERT_TAIL(&device->sessions, session, device_link);
    pthread_mutex_unlock(&device->mutex);
}

void session_leave(struct session *session)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    TAILQ_REMOVE(&device->sessions, session, device_link);
    pthread_mutex_unlock(&device->mutex);
}

struct session *session_free(struct session *session)
{
    if (session == NULL)
        return NULL;
    if (session->news.posted) {
        session->life.detached = true;
        return NULL;
    }
    free(session->path);
    free(session);
    return NULL;
}

/* ---- its end ---- */

void session_hold(struct session *session)
{
    session->life.busy++;
}

static void session_log_closed(const struct session *session)
{
    struct log_line line;
    if (!log_enabled(LOG_LEVEL_INFO))
        return;
    log_begin(&line, LOG_LEVEL_INFO, "session-closed");
    log_number(&line, "session", session->number);
    log_number(&line, "device", session->device->number);
    log_text(&line, "path", session->path);
    peer_log(&session->client.peer, &line);
    log_number(&line, "reads", session->stats.reads);
    log_number(&line, "writes", session->stats.writes);
    log_number(&line, "errors", session->stats.errors);
    log_end(&line);
}

/* The session is over. */
static void session_over(struct session *session)
{
    struct device *device = session->device;
    struct commons *commons = device->commons;
    struct registry *registry = CONTAINER_OF(commons, struct registry, commons);
    const struct session_client *client = &session->client;

    session_log_closed(session);
    commons_tell(commons, session->life.evicted ? HAPPENING_EVICTED : HAPPENING_SESSION_CLOSED,
                 device, session, NULL);
    registry_remove_session(registry, session);
    registry_release(registry, device, client->loop, client->user);
    client->owner->ops->on_gone(client->owner, session);
    (void)session_free(session);
}

static void on_session_marked(struct flush *flush, int failed)
{
    (void)failed;
    session_over(CONTAINER_OF(flush, struct session, life.marked));
}

/* What a failure took that is found out before this is the close's answer (contract S7); of what
 * the last close's sync finds out, the next opener is told. */
static void session_find_lost(struct session *session)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    if (device->sync.ledger.failed != 0 && !session->failure_told &&
        sync_part_unsynced(&device->sync.ledger, &session->unsynced, NULL) > 0)
        session->life.lost = device->sync.ledger.failed;
    pthread_mutex_unlock(&device->mutex);
}

/* The lock is released, inside and outside. Nobody is told of a failure before it is written down.
 */
static void session_gone(struct session *session)
{
    session_find_lost(session);
    session->life.marked =
        (struct flush){.loop = session->client.loop, .on_done = on_session_marked};
    if (session->life.lost == 0 || !flush_await_mark(session->device, &session->life.marked))
        session_over(session);
}

static void on_session_unguarded(struct guard_wait *wait, enum guard_mode kept, int result)
{
    (void)kept;
    (void)result; /* it can only have become weaker, or stay for the other holders */
    session_gone(CONTAINER_OF(wait, struct session, life.guard));
}

/* Its locks go to those who wait for them; it is over when the outside world knows, too. */
static void session_end(struct session *session)
{
    struct device *device = session->device;
    const char *reason = NULL;
    session->life.ending = true;
    pthread_mutex_lock(&device->mutex);
    assert(drain_gate_count(&session->transfers) == 0);
    TAILQ_REMOVE(&device->sessions, session, device_link);
    stats_add(&device->retired, &session->stats);
    pthread_mutex_unlock(&device->mutex);
    if (!session_has_locks(session)) {
        session_gone(session);
        return;
    }
    session->life.guard = (struct guard_wait){.loop = session->client.loop,
                                              .user_share = &session->client.user->helper_share,
                                              .on_done = on_session_unguarded};
    int error = session_unlock(session, LOCK_WHOLE, &session->life.guard, &reason);
    assert(error == 0); /* no request is under way: they hold the session */
    (void)error;
}

void session_drop(struct session *session)
{
    assert(session->life.busy > 0 && !session->life.ending);
    if (--session->life.busy == 0 && session->life.closing)
        session_end(session);
}

void session_close(struct session *session)
{
    if (session->life.closing)
        return;
    session->life.closing = true;
    session_hold(session); /* while requests for locks end */
    session_lock_cancel_all(session);
    session_drop(session);
}

/* ---- what it is told ---- */

/* An eviction is not told but obeyed, when its letter comes. */
void session_send_report(struct session *session)
{
    const unsigned int evicted = SESSION_EVENT_EVICTED;
    struct device *device = session->device;
    struct session_owner *owner = session->client.owner;
    pthread_mutex_lock(&device->mutex);
    const struct session_report report = {.events = session->news.events & ~evicted,
                                          .lost_locks = session->news.lost_locks,
                                          .size_bytes = device->size_bytes,
                                          .generation = device->generation,
                                          .failed = device->sync.ledger.failed};
    session->news.events &= evicted;
    session->news.lost_locks = 0;
    pthread_mutex_unlock(&device->mutex);
    if (report.events != 0)
        owner->ops->report(owner, session, &report);
}

static void session_evict(struct session *session)
{
    struct session_owner *owner = session->client.owner;
    if (session->life.closing)
        return;
    owner->ops->on_evicted(owner, session);
    session->life.evicted = true;
    session_close(session);
}

/* What is not only told: whether or not the client reads. Returns whether the session closes. */
static bool session_obey_events(struct session *session)
{
    pthread_mutex_lock(&session->device->mutex);
    session->news.posted = false;
    bool evict = (session->news.events & SESSION_EVENT_EVICTED) != 0;
    session->news.events &= ~(unsigned int)SESSION_EVENT_EVICTED;
    pthread_mutex_unlock(&session->device->mutex);
    session_lock_sweep(session);
    if (evict)
        session_evict(session);
    return evict;
}

static void on_session_news(struct letter *letter)
{
    struct session *session = CONTAINER_OF(letter, struct session, news.letter);
    struct session_owner *owner = session->client.owner;
    if (session->life.detached) {
        session->news.posted = false;
        (void)session_free(session);
        return;
    }
    if (session->life.ending) {
        pthread_mutex_lock(&session->device->mutex);
        session->news.posted = false;
        pthread_mutex_unlock(&session->device->mutex);
        return;
    }
    session_hold(session);
    /* To a client that does not read they are sent when it does: one of a kind, however many there
     * were. */
    if (!session_obey_events(session) && owner->ops->may_report(owner))
        session_send_report(session);
    session_drop(session);
}
