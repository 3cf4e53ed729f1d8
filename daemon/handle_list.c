/* SPDX-License-Identifier: MIT */
/*
 * Lists of devices and sessions, in pages: one page's header stays well within FRAME_HEADER_MAX,
 * however long the paths are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/limits.h"
#include "daemon/access.h"
#include "daemon/conn.h"
#include "daemon/handlers.h"
#include "daemon/request.h"

enum {
    LIST_ENTRIES_MAX = 256,
    LIST_PAGE_BYTES = FRAME_HEADER_MAX / 2,
    LIST_ENTRY_BYTES = 512, /* all that is not a path, at most */
};

/* A page under way. Strings are copied: their owners may go as soon as the locks are released. */
struct list_page {
    size_t count;
    size_t bytes;
    bool more;
    char *strings[LIST_ENTRIES_MAX];
    union {
        Blkd__DeviceEntry devices[LIST_ENTRIES_MAX];
        Blkd__SessionEntry sessions[LIST_ENTRIES_MAX];
    };
    Blkd__Counters counters[LIST_ENTRIES_MAX];
    Blkd__SessionEntry *session_pointers[LIST_ENTRIES_MAX];
    Blkd__DeviceEntry *device_pointers[LIST_ENTRIES_MAX];
    struct session_text {
        char command[PEER_COMMAND_MAX];
        char client_name[CLIENT_NAME_MAX + 1];
    } texts[LIST_ENTRIES_MAX];
};

/* Room for one entry with this path? Takes a copy of the path. */
static bool list_take(struct list_page *page, const char *path)
{
    size_t bytes = LIST_ENTRY_BYTES + strlen(path);
    if (page->count == LIST_ENTRIES_MAX ||
        (page->count > 0 && page->bytes + bytes > LIST_PAGE_BYTES)) {
        page->more = true;
        return false;
    }
    page->strings[page->count] = strdup(path);
    if (page->strings[page->count] == NULL) {
        page->more = true;
        return false;
    }
    page->bytes += bytes;
    return true;
}

static void list_free(struct list_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->strings[i]);
    free(page);
}

static void list_fill_counters(Blkd__Counters *counters, const struct stats *stats)
{
    blkd__counters__init(counters);
    counters->reads = stats->reads;
    counters->writes = stats->writes;
    counters->flushes = stats->flushes;
    counters->discards = stats->discards;
    counters->zeroes = stats->zeroes;
    counters->read_bytes = stats->read_bytes;
    counters->written_bytes = stats->written_bytes;
    counters->errors = stats->errors;
}

static ProtobufCBinaryData list_bytes(char *text)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
}

/* A path tells of files: who may not name paths is told only the names that its own user gave
 * (CONTRACT, bad input). */
static const char *list_session_path(const struct session *session, const struct peer *viewer)
{
    bool told = access_is_trusted(viewer) || session->peer.uid == viewer->uid;
    return told ? session->path : "";
}

/* With the device's mutex held. */
static const char *list_device_path(const struct device *device, const struct peer *viewer)
{
    const struct session *session = NULL;
    const char *path = access_is_trusted(viewer) ? device->path : "";
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (*path == '\0')
            path = list_session_path(session, viewer);
    }
    return path;
}

/* With the device's mutex held. */
static void list_fill_device(const struct device *device, Blkd__DeviceEntry *entry,
                             Blkd__Counters *counters)
{
    const struct session *session = NULL;
    struct stats stats = device->retired;
    blkd__device_entry__init(entry);
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        stats_add(&stats, &session->stats);
        entry->sessions++;
    }
    list_fill_counters(counters, &stats);
    counters->syncs_issued = device->sync.issued;
    counters->flushes_elided = device->sync.elided;
    counters->flushes_shared = device->sync.shared;
    entry->device = device->number;
    entry->kind = (Blkd__DeviceKind)device->kind;
    entry->major = major(device->identity.dev);
    entry->minor = minor(device->identity.dev);
    entry->inode = device->identity.inode;
    entry->size_bytes = device->size_bytes;
    entry->read_write = device->read_write;
    entry->direct = device->direct;
    entry->lock = (Blkd__LockMode)lock_table_held(&device->locks);
    entry->failed = device->sync.failed != 0;
    entry->counters = counters;
    entry->in_flight = device->in_flight[0] + device->in_flight[1];
    entry->generation = device->generation;
    entry->io_policy = (char *)(uintptr_t)backend_policy(device->backend);
    entry->discard = (Blkd__DiscardMethod)backend_discard_method(device->backend);
    entry->unsynced = sync_unsynced(&device->sync);
    entry->granule_bytes = device->granule_bytes;
}

int list_devices_prepare(struct request *request, const Blkd__Request *message)
{
    request->value = message->list_devices->after_device;
    return 0;
}

/* False if the page has no room for it. */
static bool list_add_device(struct device *device, const struct peer *viewer,
                            struct list_page *page)
{
    pthread_mutex_lock(&device->mutex);
    bool taken = list_take(page, list_device_path(device, viewer));
    if (taken) {
        size_t i = page->count++;
        list_fill_device(device, &page->devices[i], &page->counters[i]);
        page->devices[i].path = list_bytes(page->strings[i]);
        page->device_pointers[i] = &page->devices[i];
    }
    pthread_mutex_unlock(&device->mutex);
    return taken;
}

static void list_collect_devices(struct registry *registry, uint64_t after,
                                 const struct peer *viewer, struct list_page *page)
{
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (device, &registry->devices, link) {
        if (device->number <= after || device->state == DEVICE_CLOSED)
            continue;
        if (!list_add_device(device, viewer, page))
            break;
    }
    pthread_mutex_unlock(&registry->mutex);
}

void list_devices_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__DeviceList list = BLKD__DEVICE_LIST__INIT;
    struct list_page *page = calloc(1, sizeof(*page));
    if (page == NULL) {
        request_finish(request, -ENOMEM);
        return;
    }
    list_collect_devices(&request->conn->worker->server->registry, request->value,
                         &request->conn->peer, page);
    list.n_devices = page->count;
    list.devices = page->device_pointers;
    list.more = page->more;
    reply.body_case = BLKD__REPLY__BODY_DEVICES;
    reply.devices = &list;
    request_reply(request, &reply);
    list_free(page);
}

int list_sessions_prepare(struct request *request, const Blkd__Request *message)
{
    request->value = message->list_sessions->device;
    request->offset_bytes = message->list_sessions->after_session;
    return 0;
}

static void list_fill_session(struct session *session, Blkd__SessionEntry *entry,
                              Blkd__Counters *counters, struct session_text *text)
{
    blkd__session_entry__init(entry);
    (void)memcpy(text->command, session->peer.command, sizeof(text->command));
    (void)memcpy(text->client_name, session->client_name, sizeof(text->client_name));
    entry->session = session->number;
    entry->connection = session->connection_number;
    entry->device = session->device->number;
    entry->pid = (uint32_t)session->peer.pid;
    entry->uid = session->peer.uid;
    entry->gid = session->peer.gid;
    entry->command = text->command;
    entry->client_name = text->client_name;
    entry->read_write = session->read_write;
    entry->direct = session->device->direct;
    entry->sync = (Blkd__Sync)session->asked.sync;
    entry->sector_size = session->sector_size;
    entry->opened_unix_ms = session->opened_unix_ms;
    pthread_mutex_lock(&session->device->domain->mutex);
    entry->lock = (Blkd__LockMode)lock_owner_held(&session->lock);
    pthread_mutex_unlock(&session->device->domain->mutex);
    pthread_mutex_lock(&session->device->mutex);
    entry->in_flight = session->in_flight;
    list_fill_counters(counters, &session->stats);
    pthread_mutex_unlock(&session->device->mutex);
    entry->counters = counters;
}

static void list_collect_sessions(struct registry *registry, uint64_t device, uint64_t after,
                                  const struct peer *viewer, struct list_page *page)
{
    struct session *session = NULL;
    pthread_mutex_lock(&registry->mutex);
    TAILQ_FOREACH (session, &registry->sessions, registry_link) {
        if (session->number <= after || (device != 0 && session->device->number != device))
            continue;
        if (!list_take(page, list_session_path(session, viewer)))
            break;
        size_t i = page->count++;
        list_fill_session(session, &page->sessions[i], &page->counters[i], &page->texts[i]);
        page->sessions[i].path = list_bytes(page->strings[i]);
        page->session_pointers[i] = &page->sessions[i];
    }
    pthread_mutex_unlock(&registry->mutex);
}

void list_sessions_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__SessionList list = BLKD__SESSION_LIST__INIT;
    struct list_page *page = calloc(1, sizeof(*page));
    if (page == NULL) {
        request_finish(request, -ENOMEM);
        return;
    }
    list_collect_sessions(&request->conn->worker->server->registry, request->value,
                          request->offset_bytes, &request->conn->peer, page);
    list.n_sessions = page->count;
    list.sessions = page->session_pointers;
    list.more = page->more;
    reply.body_case = BLKD__REPLY__BODY_SESSIONS;
    reply.sessions = &list;
    request_reply(request, &reply);
    list_free(page);
}
