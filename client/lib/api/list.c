/* SPDX-License-Identifier: MIT */
/* What the daemon knows about all devices and sessions; for locks see list_locks.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/api/info.h"
#include "client/lib/api/pages.h"
#include "client/lib/base/error.h"
#include "client/lib/base/texts.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/verb.h"

/* ---- devices ---- */

struct device_list_block {
    struct blkd_device_list list; /* first: what the user has */
    struct pages pages;
    struct blkd_device_entry *entries;
    const struct blkd_device_entry **pointers;
};

/* 0 or -ENOMEM. */
static int devices_point(struct device_list_block *block, size_t count)
{
    void *pointers = pages_point(block->pointers, block->entries, sizeof(*block->entries), count);

    if (pointers == NULL)
        return -ENOMEM;
    block->pointers = pointers;
    block->list = (struct blkd_device_list){count, block->pointers};
    return 0;
}

static void devices_build(const struct call *call, const struct request *part,
                          Blkd__Request *message, union call_body *body)
{
    const struct device_list_block *block = call->asked.ret;

    (void)part;
    blkd__list_devices__init(&body->list_devices);
    body->list_devices.after_device = block->pages.after;
    message->op_case = BLKD__REQUEST__OP_LIST_DEVICES;
    message->list_devices = &body->list_devices;
}

static size_t devices_text_bytes(const Blkd__DeviceList *message)
{
    size_t bytes = 0;

    for (size_t i = 0; i < message->n_devices; i++)
        bytes += message->devices[i]->path.len + 1 + strlen(message->devices[i]->io_policy) + 1;
    return bytes;
}

static struct blkd_device_entry devices_entry(const Blkd__DeviceEntry *from, char **position)
{
    return (struct blkd_device_entry){
        .device_number = from->device,
        .path = texts_put(position, from->path.data, from->path.len),
        .kind = (enum blkd_device_kind)from->kind,
        .major = from->major,
        .minor = from->minor,
        .inode = from->inode,
        .size_bytes = from->size_bytes,
        .read_write = from->read_write,
        .direct = from->direct,
        .failed = from->failed,
        .unsynced = from->unsynced,
        .sessions = from->sessions,
        .in_flight = from->in_flight,
        .granule_bytes = from->granule_bytes,
        .lock = (enum blkd_lock_mode)from->lock,
        .discard = (enum blkd_discard_method)from->discard,
        .generation = from->generation,
        .io_policy = texts_put(position, from->io_policy, strlen(from->io_policy)),
        .counters = info_counters(from->counters),
        .sync = info_sync_state(from->sync),
        .locks = from->locks,
        .lock_waiters = from->lock_waiters,
    };
}

static int devices_reply(struct call *call, const Blkd__Reply *reply)
{
    const Blkd__DeviceList *from = reply->devices;
    struct device_list_block *block = call->asked.ret;
    struct blkd_device_entry *entries;
    size_t count = block->list.count;
    char *position;

    if (reply->body_case != BLKD__REPLY__BODY_DEVICES || (from->more && from->n_devices == 0))
        return -EPROTO;
    entries = realloc(block->entries, (count + from->n_devices + 1) * sizeof(entries[0]));
    if (entries == NULL)
        return -ENOMEM;
    block->entries = entries;
    position = pages_add_text(&block->pages, devices_text_bytes(from));
    if (position == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_devices; i++) {
        entries[count + i] = devices_entry(from->devices[i], &position);
        block->pages.after = from->devices[i]->device;
    }
    block->pages.more = from->more;
    return devices_point(block, count + from->n_devices);
}

static void devices_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "listing devices");
}

static const struct operation devices_operation = {
    .build = devices_build,
    .on_reply = devices_reply,
    .describe = devices_describe,
};

/* ---- sessions ---- */

struct session_list_block {
    struct blkd_session_list list; /* first: what the user has */
    struct pages pages;
    struct blkd_session_entry *entries;
    const struct blkd_session_entry **pointers;
};

/* 0 or -ENOMEM. */
static int sessions_point(struct session_list_block *block, size_t count)
{
    void *pointers = pages_point(block->pointers, block->entries, sizeof(*block->entries), count);

    if (pointers == NULL)
        return -ENOMEM;
    block->pointers = pointers;
    block->list = (struct blkd_session_list){count, block->pointers};
    return 0;
}

static void sessions_build(const struct call *call, const struct request *part,
                           Blkd__Request *message, union call_body *body)
{
    const struct session_list_block *block = call->asked.ret;

    (void)part;
    blkd__list_sessions__init(&body->list_sessions);
    body->list_sessions.after_session = block->pages.after;
    body->list_sessions.device = call->asked.device_number;
    message->op_case = BLKD__REQUEST__OP_LIST_SESSIONS;
    message->list_sessions = &body->list_sessions;
}

static size_t sessions_text_bytes(const Blkd__SessionList *message)
{
    size_t bytes = 0;

    for (size_t i = 0; i < message->n_sessions; i++)
        bytes += message->sessions[i]->path.len + 1 + strlen(message->sessions[i]->command) + 1 +
                 strlen(message->sessions[i]->client_name) + 1 +
                 strlen(message->sessions[i]->purpose) + 1;
    return bytes;
}

static struct blkd_session_entry sessions_entry(const Blkd__SessionEntry *from, char **position)
{
    return (struct blkd_session_entry){
        .session_number = from->session,
        .connection_number = from->connection,
        .device_number = from->device,
        .path = texts_put(position, from->path.data, from->path.len),
        .pid = from->pid,
        .uid = from->uid,
        .gid = from->gid,
        .command = texts_put(position, from->command, strlen(from->command)),
        .client_name = texts_put(position, from->client_name, strlen(from->client_name)),
        .read_write = from->read_write,
        .direct = from->direct,
        .sync = (enum blkd_sync)from->sync,
        .lock = (enum blkd_lock_mode)from->lock,
        .path_kind = (enum blkd_path_kind)from->path_kind,
        .sector_size = from->sector_size,
        .in_flight = from->in_flight,
        .opened_unix_ms = from->opened_unix_ms,
        .counters = info_counters(from->counters),
        .purpose = texts_put(position, from->purpose, strlen(from->purpose)),
        .unsynced_changes = from->unsynced_changes,
        .unsynced_since_unix_ms = from->unsynced_since_unix_ms,
        .lock_lost = from->lock_lost,
        .ring = from->ring,
        .arena_bytes = from->arena_bytes,
    };
}

static int sessions_reply(struct call *call, const Blkd__Reply *reply)
{
    const Blkd__SessionList *from = reply->sessions;
    struct session_list_block *block = call->asked.ret;
    struct blkd_session_entry *entries;
    size_t count = block->list.count;
    char *position;

    if (reply->body_case != BLKD__REPLY__BODY_SESSIONS || (from->more && from->n_sessions == 0))
        return -EPROTO;
    entries = realloc(block->entries, (count + from->n_sessions + 1) * sizeof(entries[0]));
    if (entries == NULL)
        return -ENOMEM;
    block->entries = entries;
    position = pages_add_text(&block->pages, sessions_text_bytes(from));
    if (position == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_sessions; i++) {
        entries[count + i] = sessions_entry(from->sessions[i], &position);
        block->pages.after = from->sessions[i]->session;
    }
    block->pages.more = from->more;
    return sessions_point(block, count + from->n_sessions);
}

static void sessions_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "listing sessions");
}

static const struct operation sessions_operation = {
    .build = sessions_build,
    .on_reply = sessions_reply,
    .describe = sessions_describe,
};

int blkd_list_devices(struct blkd *connection, struct blkd_device_list **ret_list)
{
    struct device_list_block *block;
    int r = pages_check(connection, ret_list);

    if (r < 0)
        return r;
    block = calloc(1, sizeof(*block));
    if (block == NULL)
        return error_report(-ENOMEM, "not enough memory for a list of devices");
    do
        r = pages_get(connection, &devices_operation, 0, block);
    while (r == 0 && block->pages.more);
    if (r < 0) {
        blkd_device_list_free(&block->list);
        return r;
    }
    *ret_list = &block->list;
    return 0;
}

int blkd_list_sessions(struct blkd *connection, uint64_t device_number,
                       struct blkd_session_list **ret_list)
{
    struct session_list_block *block;
    int r = pages_check(connection, ret_list);

    if (r < 0)
        return r;
    block = calloc(1, sizeof(*block));
    if (block == NULL)
        return error_report(-ENOMEM, "not enough memory for a list of sessions");
    do
        r = pages_get(connection, &sessions_operation, device_number, block);
    while (r == 0 && block->pages.more);
    if (r < 0) {
        blkd_session_list_free(&block->list);
        return r;
    }
    *ret_list = &block->list;
    return 0;
}

void blkd_device_list_free(struct blkd_device_list *list)
{
    struct device_list_block *block = (struct device_list_block *)(void *)list;

    if (block == NULL)
        return;
    pages_free_texts(&block->pages);
    free(block->pointers);
    free(block->entries);
    free(block);
}

void blkd_session_list_free(struct blkd_session_list *list)
{
    struct session_list_block *block = (struct session_list_block *)(void *)list;

    if (block == NULL)
        return;
    pages_free_texts(&block->pages);
    free(block->pointers);
    free(block->entries);
    free(block);
}
