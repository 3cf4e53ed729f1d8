/* SPDX-License-Identifier: MIT */
/* Lists of devices and sessions, in pages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/container.h"
#include "common/status.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/link/sessions.h"
#include "daemon/verbs/page.h"
#include "daemon/verbs/verbs.h"

/* ---- devices ---- */

struct device_page {
    struct page page;
    Blkd__DeviceEntry entries[PAGE_ENTRIES_MAX];
    Blkd__Counters counters[PAGE_ENTRIES_MAX];
    Blkd__SyncState syncs[PAGE_ENTRIES_MAX];
    Blkd__DeviceEntry *pointers[PAGE_ENTRIES_MAX];
};

/* With the device's mutex held. */
static const char *list_device_path(const struct device *device, const struct peer *viewer)
{
    const struct session *session = NULL;
    const char *path = access_is_trusted(viewer) ? device->path : "";
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (*path == '\0' && page_tells(session, viewer))
            path = session->path;
    }
    return path;
}

static unsigned int list_count_waiters(const struct sync_waiter_list *waiters)
{
    unsigned int count = 0;
    const struct sync_waiter *waiter = NULL;
    TAILQ_FOREACH (waiter, waiters, link)
        count++;
    return count;
}

/* Drive is stricter than os, and os than none. */
static Blkd__Sync list_sync_level(const struct device *device)
{
    enum session_sync level = SESSION_SYNC_NONE;
    const struct session *session = NULL;
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (session->asked.sync == SESSION_SYNC_DRIVE || level == SESSION_SYNC_NONE)
            level = session->asked.sync;
    }
    return (Blkd__Sync)level;
}

/* With the device's mutex held. */
static void list_fill_sync(const struct device *device, Blkd__SyncState *state)
{
    const struct sync_ledger *ledger = &device->sync.ledger;
    blkd__sync_state__init(state);
    state->level = list_sync_level(device);
    state->unsynced_changes = sync_unsynced_count(ledger);
    state->unsynced_since_unix_ms = ledger->unsynced_since_ms;
    state->last_sync_unix_ms = ledger->last_sync_ms;
    state->last_sync_us = ledger->last_sync_us;
    state->longest_sync_us = ledger->longest_sync_us;
    state->flushes_asked = ledger->asked;
    state->running = ledger->running;
    state->waiting = list_count_waiters(&ledger->current) + list_count_waiters(&ledger->next);
    state->failed = status_from_errno(ledger->failed);
    state->failed_unix_ms = ledger->failed_ms;
    state->volatile_storage = device->volatile_storage;
}

/* With the lock domain's mutex held. Who has its turn and waits for a program outside waits too. */
static void list_fill_locks(const struct device *device, Blkd__DeviceEntry *entry)
{
    const struct lock *lock = NULL;
    entry->lock = (Blkd__LockMode)lock_table_held(&device->locks);
    TAILQ_FOREACH (lock, &device->locks.granted, granted_link) {
        const struct session_lock *held = CONTAINER_OF_CONST(lock, struct session_lock, lock);
        entry->locks += lock->held != LOCK_NONE;
        entry->lock_waiters += atomic_load(&held->outside);
    }
    TAILQ_FOREACH (lock, &device->locks.queue, queue_link)
        entry->lock_waiters++;
}

/* With the device's mutex held. */
static void list_fill_counters(const struct device *device, Blkd__DeviceEntry *entry,
                               Blkd__Counters *counters)
{
    const struct session *session = NULL;
    struct stats stats = device->retired;
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        stats_add(&stats, &session->stats);
        entry->sessions++;
    }
    page_fill_counters(counters, &stats);
    counters->syncs_issued = device->sync.ledger.issued;
    counters->flushes_elided = device->sync.ledger.elided;
    counters->flushes_shared = device->sync.ledger.shared;
    entry->counters = counters;
}

/* With what relations_enter takes. */
static void list_fill_device(const struct device *device, Blkd__DeviceEntry *entry)
{
    entry->device = device->number;
    entry->kind = (Blkd__DeviceKind)device->kind;
    entry->major = major(device->identity.dev);
    entry->minor = minor(device->identity.dev);
    entry->inode = device->identity.inode;
    entry->size_bytes = device->size_bytes;
    entry->read_write = device->read_write;
    entry->direct = device->direct;
    entry->failed = device->sync.ledger.failed != 0;
    entry->in_flight = drain_gate_count(&device->transfers);
    entry->generation = device->generation;
    entry->io_policy = (char *)(uintptr_t)backend_policy(device->backend);
    entry->discard = (Blkd__DiscardMethod)backend_discard_method(device->backend);
    entry->unsynced = flush_would_sync(device);
    entry->granule_bytes = device->granule_bytes;
}

int list_devices_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->list_devices->after_device;
    return 0;
}

/* False if the page has no room for it. */
static bool list_add_device(struct device *device, const struct peer *viewer,
                            struct device_page *list)
{
    size_t i = 0;
    relations_enter(device);
    bool taken = page_take(&list->page, list_device_path(device, viewer), &i);
    if (taken) {
        Blkd__DeviceEntry *entry = &list->entries[i];
        blkd__device_entry__init(entry);
        list_fill_device(device, entry);
        list_fill_counters(device, entry, &list->counters[i]);
        list_fill_locks(device, entry);
        list_fill_sync(device, &list->syncs[i]);
        entry->sync = &list->syncs[i];
        entry->path = page_path(&list->page, i);
        list->pointers[i] = entry;
    }
    relations_leave(device);
    return taken;
}

static void list_collect_devices(struct registry *registry, uint64_t after,
                                 const struct peer *viewer, struct device_page *list)
{
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (device, &registry->devices, registration.link) {
        if (device->number <= after || device->registration.state == DEVICE_CLOSED)
            continue;
        if (!list_add_device(device, viewer, list))
            break;
    }
    pthread_mutex_unlock(&registry->mutex);
}

void list_devices_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__DeviceList body = BLKD__DEVICE_LIST__INIT;
    struct device_page *list = calloc(1, sizeof(*list));
    if (list == NULL) {
        request_finish(request, -ENOMEM);
        return;
    }
    list_collect_devices(&request->conn->worker->server->registry, request->asked.value,
                         &request->conn->peer, list);
    body.n_devices = list->page.count;
    body.devices = list->pointers;
    body.more = list->page.more;
    reply.body_case = BLKD__REPLY__BODY_DEVICES;
    reply.devices = &body;
    request_reply(request, &reply);
    page_deinit(&list->page);
    free(list);
}

/* ---- sessions ---- */

struct session_text {
    char command[PEER_COMMAND_MAX];
    char client_name[CLIENT_NAME_MAX + 1];
    char purpose[PURPOSE_MAX + 1];
};

struct session_page {
    struct page page;
    Blkd__SessionEntry entries[PAGE_ENTRIES_MAX];
    Blkd__Counters counters[PAGE_ENTRIES_MAX];
    struct session_text texts[PAGE_ENTRIES_MAX];
    Blkd__SessionEntry *pointers[PAGE_ENTRIES_MAX];
};

int list_sessions_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->list_sessions->device;
    request->asked.offset_bytes = message->list_sessions->after_session;
    return 0;
}

static void list_fill_texts(const struct session *session, bool tells, Blkd__SessionEntry *entry,
                            struct session_text *text)
{
    (void)memcpy(text->command, session->client.peer.command, sizeof(text->command));
    (void)memcpy(text->client_name, session->client.name, sizeof(text->client_name));
    if (tells)
        (void)memcpy(text->purpose, session->purpose, sizeof(text->purpose));
    entry->command = text->command;
    entry->client_name = text->client_name;
    entry->purpose = text->purpose;
}

static void list_fill_state(struct session *session, Blkd__SessionEntry *entry,
                            Blkd__Counters *counters)
{
    struct device *device = session->device;
    pthread_mutex_lock(&device->commons->locks.mutex);
    entry->lock = (Blkd__LockMode)lock_owner_held(&session->lock);
    pthread_mutex_unlock(&device->commons->locks.mutex);
    pthread_mutex_lock(&device->mutex);
    entry->in_flight = drain_gate_count(&session->transfers);
    entry->lock_lost = session->lock.stale;
    entry->ring = atomic_load(&sessions_conn(session)->shown.has_rings);
    entry->arena_bytes = atomic_load(&sessions_conn(session)->shown.arena_bytes);
    entry->unsynced_changes = sync_part_unsynced(&device->sync.ledger, &session->unsynced,
                                                 &entry->unsynced_since_unix_ms);
    page_fill_counters(counters, &session->stats);
    pthread_mutex_unlock(&device->mutex);
    entry->counters = counters;
}

static void list_fill_session(const struct session *session, Blkd__SessionEntry *entry)
{
    entry->session = session->number;
    entry->connection = session->client.connection;
    entry->device = session->device->number;
    entry->pid = (uint32_t)session->client.peer.pid;
    entry->uid = session->client.peer.uid;
    entry->gid = session->client.peer.gid;
    entry->read_write = session->read_write;
    entry->direct = session->device->direct;
    entry->sync = (Blkd__Sync)session->asked.sync;
    entry->sector_size = session->sector_size;
    entry->opened_unix_ms = session->opened_unix_ms;
}

/* False if the page has no room for it. */
static bool list_add_session(struct session *session, const struct peer *viewer,
                             struct session_page *list)
{
    size_t i = 0;
    bool tells = page_tells(session, viewer);
    if (!page_take(&list->page, tells ? session->path : "", &i))
        return false;
    Blkd__SessionEntry *entry = &list->entries[i];
    blkd__session_entry__init(entry);
    list_fill_session(session, entry);
    list_fill_texts(session, tells, entry, &list->texts[i]);
    list_fill_state(session, entry, &list->counters[i]);
    entry->path = page_path(&list->page, i);
    if (access_is_trusted(viewer))
        entry->path_kind = session->path_verified ? BLKD__NAME_KIND__NAME_KIND_VERIFIED
                                                  : BLKD__NAME_KIND__NAME_KIND_LABEL;
    list->pointers[i] = entry;
    return true;
}

static void list_collect_sessions(struct registry *registry, uint64_t device, uint64_t after,
                                  const struct peer *viewer, struct session_page *list)
{
    struct session *session = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (session, &registry->sessions, registry_link) {
        if (session->number <= after || (device != 0 && session->device->number != device))
            continue;
        if (!list_add_session(session, viewer, list))
            break;
    }
    pthread_mutex_unlock(&registry->mutex);
}

void list_sessions_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__SessionList body = BLKD__SESSION_LIST__INIT;
    struct session_page *list = calloc(1, sizeof(*list));
    if (list == NULL) {
        request_finish(request, -ENOMEM);
        return;
    }
    list_collect_sessions(&request->conn->worker->server->registry, request->asked.value,
                          request->asked.offset_bytes, &request->conn->peer, list);
    body.n_sessions = list->page.count;
    body.sessions = list->pointers;
    body.more = list->page.more;
    reply.body_case = BLKD__REPLY__BODY_SESSIONS;
    reply.sessions = &body;
    request_reply(request, &reply);
    page_deinit(&list->page);
    free(list);
}
