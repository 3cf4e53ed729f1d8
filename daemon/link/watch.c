/* SPDX-License-Identifier: MIT */
/*
 * Two parts meet in a watcher: publishing threads append to its queue under the hub's mutex, and
 * its own worker takes from there. The letter that wakes the worker is posted only while the worker
 * knows of nothing to look at (`awake` is false); a client that does not read keeps it awake, so
 * that what happens meanwhile costs no letters.
 */
#include "daemon/link/watch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/limits.h"
#include "common/status.h"
#include "common/text.h"
#include "daemon/base/clock.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"

/* What happened: made once, then read by all watchers' workers, and constant. */
struct happening {
    atomic_uint references;
    size_t bytes;
    enum happening_what what;
    uint64_t device;
    uint64_t session; /* 0: of the device */
    uint64_t unix_ms;
    struct peer peer; /* the session's */
    struct happening_detail detail;
    char purpose[PURPOSE_MAX + 1];
    char path[];
};

struct watch_slot {
    struct happening *happening;
    uint64_t left_out; /* just before it */
};

struct watcher {
    TAILQ_ENTRY(watcher) link;
    struct worker *worker; /* constant */
    struct user *user;     /* constant; only compared */
    struct letter letter;

    /* Under the hub's mutex: a ring of slots, and what was left out after the last of them. */
    struct watch_slot slots[WATCH_ENTRIES_MAX];
    unsigned int first;
    unsigned int count;
    size_t bytes;
    uint64_t left_out;
    bool posted; /* the letter is in the mailbox */
    bool awake;  /* the worker looks, or will look, by itself */

    /* The worker's own. */
    struct conn *conn; /* NULL: it has stopped, and only the letter keeps it */
    uint64_t untold;   /* left out before the next that is told */
};

static void watch_publish(struct happening_sink *sink, enum happening_what what,
                          const struct device *device, const struct session *session,
                          const struct happening_detail *detail);

void watch_hub_init(struct watch_hub *hub)
{
    *hub = (struct watch_hub){.sink.publish = watch_publish};
    (void)pthread_mutex_init(&hub->mutex, NULL);
    TAILQ_INIT(&hub->watchers);
}

void watch_hub_deinit(struct watch_hub *hub)
{
    assert(TAILQ_EMPTY(&hub->watchers));
    (void)pthread_mutex_destroy(&hub->mutex);
}

/* ---- what happened ---- */

static void happening_unref(struct happening *happening)
{
    if (atomic_fetch_sub(&happening->references, 1) == 1)
        free(happening);
}

static void happening_set_purpose(struct happening *happening, const struct session *session)
{
    const char *purpose = happening->detail.purpose;
    if ((purpose == NULL || *purpose == '\0') && session != NULL)
        purpose = session->purpose;
    happening->detail.purpose = NULL; /* the caller's */
    if (purpose != NULL)
        (void)snprintf(happening->purpose, sizeof(happening->purpose), "%s", purpose);
    text_make_utf8(happening->purpose);
}

/* With one reference; NULL: no memory. */
static struct happening *happening_new(enum happening_what what, const struct device *device,
                                       const struct session *session,
                                       const struct happening_detail *detail)
{
    const char *path = session == NULL ? device->path : session->path;
    size_t path_bytes = strlen(path) + 1;
    struct happening *happening = calloc(1, sizeof(*happening) + path_bytes);
    if (happening == NULL)
        return NULL;
    happening->references = 1;
    happening->bytes = sizeof(*happening) + path_bytes;
    happening->what = what;
    happening->device = device->number;
    happening->unix_ms = clock_unix_ms();
    if (session != NULL) {
        happening->session = session->number;
        happening->peer = session->client.peer;
        text_make_utf8(happening->peer.command);
    }
    if (detail != NULL)
        happening->detail = *detail;
    happening_set_purpose(happening, session);
    (void)memcpy(happening->path, path, path_bytes);
    return happening;
}

/* ---- a watcher's queue: all with the hub's mutex held ---- */

static struct watch_slot *watcher_slot(struct watcher *watcher, unsigned int index)
{
    return &watcher->slots[(watcher->first + index) % WATCH_ENTRIES_MAX];
}

static struct watch_slot watcher_remove_first(struct watcher *watcher)
{
    struct watch_slot slot = *watcher_slot(watcher, 0);
    watcher->first = (watcher->first + 1) % WATCH_ENTRIES_MAX;
    watcher->count--;
    watcher->bytes -= slot.happening->bytes;
    return slot;
}

static void watcher_leave_out_first(struct watcher *watcher)
{
    struct watch_slot slot = watcher_remove_first(watcher);
    uint64_t *count =
        watcher->count == 0 ? &watcher->left_out : &watcher_slot(watcher, 0)->left_out;
    *count += slot.left_out + 1;
    happening_unref(slot.happening);
}

static void watcher_append(struct watcher *watcher, struct happening *happening)
{
    while (watcher->count == WATCH_ENTRIES_MAX ||
           (watcher->count > 0 && watcher->bytes + happening->bytes > WATCH_BYTES_MAX))
        watcher_leave_out_first(watcher);
    atomic_fetch_add(&happening->references, 1);
    *watcher_slot(watcher, watcher->count) =
        (struct watch_slot){.happening = happening, .left_out = watcher->left_out};
    watcher->left_out = 0;
    watcher->count++;
    watcher->bytes += happening->bytes;
}

static void watcher_wake(struct watcher *watcher)
{
    watcher->awake = true;
    if (watcher->posted)
        return;
    watcher->posted = true;
    loop_post(&watcher->worker->io.base, &watcher->letter);
}

static void watch_publish(struct happening_sink *sink, enum happening_what what,
                          const struct device *device, const struct session *session,
                          const struct happening_detail *detail)
{
    struct watch_hub *hub = CONTAINER_OF(sink, struct watch_hub, sink);
    struct watcher *watcher = NULL;
    if (atomic_load_explicit(&hub->count, memory_order_relaxed) == 0)
        return;
    struct happening *happening = happening_new(what, device, session, detail);
    pthread_mutex_lock(&hub->mutex);
    TAILQ_FOREACH (watcher, &hub->watchers, link) {
        if (happening == NULL) {
            watcher->left_out++;
            continue;
        }
        watcher_append(watcher, happening);
        if (!watcher->awake)
            watcher_wake(watcher);
    }
    pthread_mutex_unlock(&hub->mutex);
    if (happening != NULL)
        happening_unref(happening);
}

/* ---- telling the client: on its worker ---- */

/* Its connection's session on the device; NULL: it has none. */
static const struct session *watcher_session(const struct watcher *watcher, uint64_t device)
{
    struct session *session = NULL;
    struct session *next = NULL;
    HASH_ITER(hh, watcher->conn->sessions.by_number, session, next)
    {
        if (session->device->number == device)
            return session;
    }
    return NULL;
}

/* Paths and purposes as in the lists (verbs/list.c): `own` is NULL to the trusted, who are told
 * everything. */
static void watcher_fill_private(const struct watcher *watcher, struct happening *happening,
                                 const struct session *own, Blkd__Happening *told)
{
    char *path = happening->path;
    if (own != NULL && happening->session == 0)
        path = own->path;
    else if (own != NULL && happening->peer.uid != watcher->conn->peer.uid)
        return;
    told->path.data = (uint8_t *)path;
    told->path.len = strlen(path);
    told->purpose = happening->purpose;
}

static void watch_fill_lock(const struct happening_detail *detail, Blkd__Happening *told)
{
    const struct lock_range *range = &detail->range;
    told->mode = (Blkd__LockMode)detail->mode;
    told->token = detail->token;
    if (detail->mode == LOCK_NONE)
        return;
    told->offset_bytes = range->first_byte;
    if (range->last_byte != UINT64_MAX)
        told->length_bytes = range->last_byte - range->first_byte + 1;
}

static void watcher_tell(struct watcher *watcher, struct happening *happening,
                         const struct session *own)
{
    Blkd__Happening told = BLKD__HAPPENING__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    told.what = (Blkd__Happening__What)happening->what;
    told.device = happening->device;
    told.session = happening->session;
    told.unix_ms = happening->unix_ms;
    told.pid = (uint32_t)happening->peer.pid;
    told.uid = happening->peer.uid;
    told.command = happening->peer.command;
    watch_fill_lock(&happening->detail, &told);
    told.size_bytes = happening->detail.size_bytes;
    told.generation = happening->detail.generation;
    told.status = status_from_errno(happening->detail.error);
    watcher_fill_private(watcher, happening, own, &told);
    told.left_out = watcher->untold;
    watcher->untold = 0;
    event.what_case = BLKD__EVENT__WHAT_HAPPENING;
    event.happening = &told;
    conn_queue_event(watcher->conn, &event);
}

/* False: there is nothing, and the next to come will wake the worker. */
static bool watcher_take(struct watch_hub *hub, struct watcher *watcher,
                         struct watch_slot *ret_slot)
{
    pthread_mutex_lock(&hub->mutex);
    bool found = watcher->count > 0;
    if (found)
        *ret_slot = watcher_remove_first(watcher);
    watcher->awake = found;
    pthread_mutex_unlock(&hub->mutex);
    return found;
}

void watch_send(struct watcher *watcher)
{
    struct watch_slot slot;
    if (watcher == NULL)
        return;
    struct conn *conn = watcher->conn;
    struct watch_hub *hub = &watcher->worker->server->watch;
    bool trusted = access_is_trusted(&conn->peer);
    /* No more than what a full queue holds: the worker's others have their turn, too. */
    for (unsigned int i = 0; i < WATCH_ENTRIES_MAX; i++) {
        if (conn_is_backed_up(conn)) {
            conn->out.events_held = true;
            return;
        }
        if (!watcher_take(hub, watcher, &slot))
            return;
        const struct session *own =
            trusted ? NULL : watcher_session(watcher, slot.happening->device);
        watcher->untold += slot.left_out;
        if (trusted || own != NULL)
            watcher_tell(watcher, slot.happening, own);
        happening_unref(slot.happening);
    }
    pthread_mutex_lock(&hub->mutex);
    watcher_wake(watcher);
    pthread_mutex_unlock(&hub->mutex);
}

static void on_watch_letter(struct letter *letter)
{
    struct watcher *watcher = CONTAINER_OF(letter, struct watcher, letter);
    if (watcher->conn == NULL) {
        free(watcher);
        return;
    }
    struct watch_hub *hub = &watcher->worker->server->watch;
    pthread_mutex_lock(&hub->mutex);
    watcher->posted = false;
    pthread_mutex_unlock(&hub->mutex);
    watch_send(watcher);
}

/* ---- a watcher's life ---- */

/* With the hub's mutex held. */
static unsigned int watch_count(const struct watch_hub *hub, const struct user *user)
{
    const struct watcher *watcher = NULL;
    unsigned int count = 0;
    TAILQ_FOREACH (watcher, &hub->watchers, link) {
        if (watcher->user == user)
            count++;
    }
    return count;
}

static int watch_add(struct watch_hub *hub, struct watcher *watcher)
{
    int error = -EDQUOT;
    pthread_mutex_lock(&hub->mutex);
    if (watch_count(hub, watcher->user) < WATCHERS_PER_UID_MAX) {
        TAILQ_INSERT_TAIL(&hub->watchers, watcher, link);
        atomic_fetch_add(&hub->count, 1);
        error = 0;
    }
    pthread_mutex_unlock(&hub->mutex);
    return error;
}

int watch_start(struct watch_hub *hub, struct conn *conn)
{
    if (conn->state != CONN_SERVING)
        return -ESHUTDOWN;
    if (conn->watcher != NULL)
        return 0;
    CLEANUP_FREE struct watcher *watcher = calloc(1, sizeof(*watcher));
    if (watcher == NULL)
        return -ENOMEM;
    watcher->worker = conn->worker;
    watcher->user = conn->user;
    watcher->letter.deliver = on_watch_letter;
    watcher->conn = conn;
    int error = watch_add(hub, watcher);
    if (error < 0)
        return error;
    conn->requests.buffered_bytes += WATCH_BYTES_MAX;
    conn->watcher = TAKE_PTR(watcher);
    return 0;
}

void watch_stop(struct watch_hub *hub, struct conn *conn)
{
    struct watcher *watcher = TAKE_PTR(conn->watcher);
    if (watcher == NULL)
        return;
    conn->requests.buffered_bytes -= WATCH_BYTES_MAX;
    watcher->conn = NULL;
    pthread_mutex_lock(&hub->mutex);
    TAILQ_REMOVE(&hub->watchers, watcher, link);
    atomic_fetch_sub(&hub->count, 1);
    while (watcher->count > 0)
        happening_unref(watcher_remove_first(watcher).happening);
    bool posted = watcher->posted;
    pthread_mutex_unlock(&hub->mutex);
    if (!posted)
        free(watcher); /* else the letter does */
}
