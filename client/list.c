/* SPDX-License-Identifier: MIT */
/*
 * What the daemon knows about all devices and sessions. A list is one allocation: head, entries and
 * then the strings that the entries point to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/error.h"
#include "client/handle.h"
#include "client/info.h"

/* Copies `length` bytes and a NUL to *position and moves it behind them. */
static const char *list_put(char **position, const void *bytes, size_t length)
{
    char *text = *position;

    if (length > 0)
        memcpy(text, bytes, length);
    text[length] = '\0';
    *position += length + 1;
    return text;
}

/* ---- devices ---- */

struct device_list_block {
    struct blkd_device_list list;
    struct blkd_device_entry entries[];
};

static void devices_build(const struct call *call, const struct request *part,
                          Blkd__Request *message, union call_body *body)
{
    (void)call;
    (void)part;
    blkd__list_devices__init(&body->list_devices);
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
        .path = list_put(position, from->path.data, from->path.len),
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
        .io_policy = list_put(position, from->io_policy, strlen(from->io_policy)),
        .counters = info_counters(from->counters),
    };
}

static int devices_reply(struct call *call, const Blkd__Reply *reply)
{
    const Blkd__DeviceList *from = reply->devices;
    struct device_list_block *block;
    char *position;

    if (reply->body_case != BLKD__REPLY__BODY_DEVICES)
        return -EPROTO;
    block = malloc(sizeof(*block) + from->n_devices * sizeof(block->entries[0]) +
                   devices_text_bytes(from));
    if (block == NULL)
        return -ENOMEM;
    position = (char *)&block->entries[from->n_devices];
    for (size_t i = 0; i < from->n_devices; i++)
        block->entries[i] = devices_entry(from->devices[i], &position);
    block->list = (struct blkd_device_list){from->n_devices, block->entries};
    *(struct blkd_device_list **)call->ret = &block->list;
    return 0;
}

static void devices_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "listing blkd's devices");
}

static const struct operation devices_operation = {
    .build = devices_build,
    .on_reply = devices_reply,
    .describe = devices_describe,
};

/* ---- sessions ---- */

struct session_list_block {
    struct blkd_session_list list;
    struct blkd_session_entry entries[];
};

static void sessions_build(const struct call *call, const struct request *part,
                           Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__list_sessions__init(&body->list_sessions);
    body->list_sessions.device = call->device_number;
    message->op_case = BLKD__REQUEST__OP_LIST_SESSIONS;
    message->list_sessions = &body->list_sessions;
}

static size_t sessions_text_bytes(const Blkd__SessionList *message)
{
    size_t bytes = 0;

    for (size_t i = 0; i < message->n_sessions; i++)
        bytes += message->sessions[i]->path.len + 1 + strlen(message->sessions[i]->command) + 1 +
                 strlen(message->sessions[i]->client_name) + 1;
    return bytes;
}

static struct blkd_session_entry sessions_entry(const Blkd__SessionEntry *from, char **position)
{
    return (struct blkd_session_entry){
        .session_number = from->session,
        .connection_number = from->connection,
        .device_number = from->device,
        .path = list_put(position, from->path.data, from->path.len),
        .pid = from->pid,
        .uid = from->uid,
        .gid = from->gid,
        .command = list_put(position, from->command, strlen(from->command)),
        .client_name = list_put(position, from->client_name, strlen(from->client_name)),
        .read_write = from->read_write,
        .direct = from->direct,
        .sync = (enum blkd_sync)from->sync,
        .lock = (enum blkd_lock_mode)from->lock,
        .sector_size = from->sector_size,
        .in_flight = from->in_flight,
        .opened_unix_ms = from->opened_unix_ms,
        .counters = info_counters(from->counters),
    };
}

static int sessions_reply(struct call *call, const Blkd__Reply *reply)
{
    const Blkd__SessionList *from = reply->sessions;
    struct session_list_block *block;
    char *position;

    if (reply->body_case != BLKD__REPLY__BODY_SESSIONS)
        return -EPROTO;
    block = malloc(sizeof(*block) + from->n_sessions * sizeof(block->entries[0]) +
                   sessions_text_bytes(from));
    if (block == NULL)
        return -ENOMEM;
    position = (char *)&block->entries[from->n_sessions];
    for (size_t i = 0; i < from->n_sessions; i++)
        block->entries[i] = sessions_entry(from->sessions[i], &position);
    block->list = (struct blkd_session_list){from->n_sessions, block->entries};
    *(struct blkd_session_list **)call->ret = &block->list;
    return 0;
}

static void sessions_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "listing blkd's sessions");
}

static const struct operation sessions_operation = {
    .build = sessions_build,
    .on_reply = sessions_reply,
    .describe = sessions_describe,
};

static int list_run(struct blkd *connection, const struct operation *operation,
                    uint64_t device_number, void *ret_list)
{
    struct call *call;
    int r;

    if (connection == NULL || ret_list == NULL)
        return error_report(-EINVAL, "a list without %s",
                            connection == NULL ? "a connection" : "a place for it");
    r = call_begin(connection, NULL, operation, CALL_WAITS, &call);
    if (r < 0)
        return r;
    call->device_number = device_number;
    call->ret = ret_list;
    return call_run(call);
}

int blkd_list_devices(struct blkd *connection, struct blkd_device_list **ret_list)
{
    return list_run(connection, &devices_operation, 0, ret_list);
}

int blkd_list_sessions(struct blkd *connection, uint64_t device_number,
                       struct blkd_session_list **ret_list)
{
    return list_run(connection, &sessions_operation, device_number, ret_list);
}

void blkd_device_list_free(struct blkd_device_list *list)
{
    free(list); /* the first member of its block */
}

void blkd_session_list_free(struct blkd_session_list *list)
{
    free(list);
}
