/* SPDX-License-Identifier: MIT */
/*
 * The list of locks, held and waited for, in pages by their numbers. A device keeps its locks in
 * other orders, so that a page is chosen first (the smallest numbers after the last page's) and
 * filled then, both under the lock domain's mutex: whatever is read here of a lock changes only
 * with that one held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "daemon/device/session.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/page.h"
#include "daemon/verbs/verbs.h"

struct lock_choice {
    const struct session_lock *held;
    unsigned int position; /* in the queue, from 1; 0: it is not in it */
};

struct lock_text {
    char command[PEER_COMMAND_MAX];
    char purpose[PURPOSE_MAX + 1];
};

struct lock_page {
    struct page page;
    const struct peer *viewer;
    uint64_t after;
    struct lock_choice chosen[PAGE_ENTRIES_MAX]; /* by their numbers */
    size_t chosen_count;
    Blkd__LockEntry entries[PAGE_ENTRIES_MAX];
    struct lock_text texts[PAGE_ENTRIES_MAX];
    Blkd__LockEntry *pointers[PAGE_ENTRIES_MAX];
};

int list_locks_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.value = message->list_locks->device;
    request->asked.offset_bytes = message->list_locks->after_lock;
    return 0;
}

/* ---- which ---- */

static void list_choose(struct lock_page *list, const struct lock *lock, unsigned int position)
{
    const struct session_lock *held = CONTAINER_OF_CONST(lock, struct session_lock, lock);
    size_t at = list->chosen_count;
    if (held->number <= list->after)
        return;
    while (at > 0 && list->chosen[at - 1].held->number > held->number)
        at--;
    if (list->chosen_count == PAGE_ENTRIES_MAX) {
        list->page.more = true;
        if (at == PAGE_ENTRIES_MAX)
            return;
        list->chosen_count--;
    }
    (void)memmove(&list->chosen[at + 1], &list->chosen[at],
                  (list->chosen_count - at) * sizeof(list->chosen[0]));
    list->chosen[at] = (struct lock_choice){.held = held, .position = position};
    list->chosen_count++;
}

/* An upgrade that waits is in both lists. */
static void list_choose_of(struct lock_page *list, const struct device *device)
{
    const struct lock *lock = NULL;
    unsigned int position = 0;
    TAILQ_FOREACH (lock, &device->locks.queue, queue_link)
        list_choose(list, lock, ++position);
    TAILQ_FOREACH (lock, &device->locks.granted, granted_link) {
        if (lock->phase != LOCK_WAITING)
            list_choose(list, lock, 0);
    }
}

/* Who may not name paths is shown the locks of what it has open itself. */
static bool list_shows(struct device *device, const struct peer *viewer)
{
    const struct session *session = NULL;
    bool shows = access_is_trusted(viewer);
    pthread_mutex_lock(&device->mutex);
    TAILQ_FOREACH (session, &device->sessions, device_link)
        shows = shows || session->client.peer.uid == viewer->uid;
    pthread_mutex_unlock(&device->mutex);
    return shows;
}

/* ---- what is told of them ---- */

static void list_fill_lock(const struct session_lock *held, unsigned int position,
                           Blkd__LockEntry *entry)
{
    const struct lock *lock = &held->lock;
    entry->lock = held->number;
    entry->device = held->session->device->number;
    entry->session = held->session->number;
    entry->mode = (Blkd__LockMode)lock->held;
    if (lock->phase != LOCK_SETTLED)
        entry->wanted = (Blkd__LockMode)lock->wanted;
    entry->position = position;
    entry->offset_bytes = lock->range.first_byte;
    if (lock->range.first_byte != 0 || lock->range.last_byte != UINT64_MAX)
        entry->length_bytes = lock->range.last_byte - lock->range.first_byte + 1;
    entry->isolate = lock->isolates;
    entry->token = held->token;
    entry->since_unix_ms = held->since_unix_ms;
    entry->waits_outside = atomic_load(&held->outside);
}

static void list_fill_holder(const struct session_lock *held, bool tells, Blkd__LockEntry *entry,
                             struct lock_text *text)
{
    const struct peer *peer = &held->session->client.peer;
    (void)memcpy(text->command, peer->command, sizeof(text->command));
    if (tells)
        (void)memcpy(text->purpose, held->purpose, sizeof(text->purpose));
    entry->command = text->command;
    entry->purpose = text->purpose;
    entry->pid = (uint32_t)peer->pid;
    entry->uid = peer->uid;
}

/* False if the page has no room for it. */
static bool list_add_lock(struct lock_page *list, const struct lock_choice *choice)
{
    size_t i = 0;
    const struct session *session = choice->held->session;
    bool tells = page_tells(session, list->viewer);
    if (!page_take(&list->page, tells ? session->path : "", &i))
        return false;
    Blkd__LockEntry *entry = &list->entries[i];
    blkd__lock_entry__init(entry);
    list_fill_lock(choice->held, choice->position, entry);
    list_fill_holder(choice->held, tells, entry, &list->texts[i]);
    entry->path = page_path(&list->page, i);
    list->pointers[i] = entry;
    return true;
}

static void list_collect_locks(struct registry *registry, uint64_t number, struct lock_page *list)
{
    struct device *device = NULL;
    pthread_mutex_lock(&registry->mutex);
    pthread_mutex_lock(&registry->commons.locks.mutex);
    TAILQ_FOREACH (device, &registry->devices, registration.link) {
        if ((number == 0 || device->number == number) && list_shows(device, list->viewer))
            list_choose_of(list, device);
    }
    for (size_t i = 0; i < list->chosen_count; i++) {
        if (!list_add_lock(list, &list->chosen[i]))
            break;
    }
    pthread_mutex_unlock(&registry->commons.locks.mutex);
    pthread_mutex_unlock(&registry->mutex);
}

void list_locks_run(struct request *request)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__LockList body = BLKD__LOCK_LIST__INIT;
    struct lock_page *list = calloc(1, sizeof(*list));
    if (list == NULL) {
        request_finish(request, -ENOMEM);
        return;
    }
    list->viewer = &request->conn->peer;
    list->after = request->asked.offset_bytes;
    list_collect_locks(&request->conn->worker->server->registry, request->asked.value, list);
    body.n_locks = list->page.count;
    body.locks = list->pointers;
    body.more = list->page.more;
    reply.body_case = BLKD__REPLY__BODY_LOCKS;
    reply.locks = &body;
    request_reply(request, &reply);
    page_deinit(&list->page);
    free(list);
}
