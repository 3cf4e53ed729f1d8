/* SPDX-License-Identifier: MIT */
/*
 * Who has a device. By path, or where the daemon opens no paths for this user, by a descriptor that
 * the library opens itself, as for opening a device (open.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/api/config.h"
#include "client/lib/api/openpath.h"
#include "client/lib/api/pages.h"
#include "client/lib/base/error.h"
#include "client/lib/base/texts.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/verb.h"
#include "common/cleanup.h"

_Static_assert((int)BLKD_HOLDER_SESSION == (int)BLKD__HOLDER_KIND__HOLDER_KIND_SESSION &&
                   (int)BLKD_HOLDER_MOUNT == (int)BLKD__HOLDER_KIND__HOLDER_KIND_MOUNT &&
                   (int)BLKD_HOLDER_LEASE == (int)BLKD__HOLDER_KIND__HOLDER_KIND_LEASE,
               "enum blkd_holder_kind is the wire's HolderKind");

/* One allocation: this, the entries, the pointers to them, their texts. */
struct holders_block {
    struct blkd_holders holders; /* first: what the user has */
    struct blkd_holder entries[];
};

static void who_build(const struct call *call, const struct request *part, Blkd__Request *message,
                      union call_body *body)
{
    (void)part;
    blkd__who__init(&body->who);
    body->who.path = (ProtobufCBinaryData){strlen(call->asked.text), (uint8_t *)call->asked.text};
    body->who.descriptor = call->passing.asked;
    message->op_case = BLKD__REQUEST__OP_WHO;
    message->who = &body->who;
}

static size_t who_text_bytes(const Blkd__WhoReply *message)
{
    size_t bytes = 0;

    for (size_t i = 0; i < message->n_holders; i++)
        bytes += strlen(message->holders[i]->command) + 1 + message->holders[i]->detail.len + 1 +
                 strlen(message->holders[i]->purpose) + 1;
    return bytes;
}

static struct blkd_holder who_entry(const Blkd__Holder *from, char **position)
{
    return (struct blkd_holder){
        .kind = (enum blkd_holder_kind)from->kind,
        .exclusive = from->exclusive,
        .via = from->via,
        .read_write = from->read_write,
        .waiting = from->waiting,
        .pid = from->pid,
        .uid = from->uid,
        .command = texts_put(position, from->command, strlen(from->command)),
        .detail = texts_put(position, from->detail.data, from->detail.len),
        .session_number = from->session,
        .purpose = texts_put(position, from->purpose, strlen(from->purpose)),
        .lock = (enum blkd_lock_mode)from->lock,
        .since_unix_ms = from->since_unix_ms,
    };
}

static int who_reply(struct call *call, const Blkd__Reply *reply)
{
    const Blkd__WhoReply *from = reply->who;
    struct holders_block *block;
    const struct blkd_holder **pointers;
    char *position;

    if (reply->body_case != BLKD__REPLY__BODY_WHO)
        return -EPROTO;
    block = malloc(sizeof(*block) +
                   from->n_holders * (sizeof(block->entries[0]) + sizeof(pointers[0])) +
                   who_text_bytes(from));
    if (block == NULL)
        return -ENOMEM;
    pointers = (const struct blkd_holder **)(void *)&block->entries[from->n_holders];
    position = (char *)&pointers[from->n_holders];
    for (size_t i = 0; i < from->n_holders; i++) {
        block->entries[i] = who_entry(from->holders[i], &position);
        pointers[i] = &block->entries[i];
    }
    block->holders = (struct blkd_holders){
        .count = from->n_holders,
        .entries = pointers,
        .more = from->more,
        .device_number = from->device,
        .failed = from->failed,
        .safe = from->safe,
    };
    *(struct blkd_holders **)call->asked.ret = &block->holders;
    return 0;
}

static void who_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "asking who uses %s", call->asked.text);
}

/* As open_retry, but that reading is enough. */
static bool who_retry(struct call *call)
{
    return openpath_retry(call, call->asked.text, BLKD_ACCESS_READ_ONLY);
}

static const struct operation who_operation = {
    .build = who_build,
    .on_reply = who_reply,
    .describe = who_describe,
    .retry = who_retry,
};

int blkd_who(struct blkd *connection, const char *path, struct blkd_holders **ret_holders)
{
    CLEANUP_FREE char *absolute = NULL;
    struct call *call;
    int r = pages_check(connection, ret_holders);

    if (r == 0)
        r = config_absolute_path(path, &absolute);
    if (r == 0)
        r = verb_begin(connection, NULL, &who_operation, CALL_WAITS, &call);
    if (r != 0)
        return r;
    call->asked.text = TAKE_PTR(absolute);
    call->asked.ret = ret_holders;
    return verb_run(call);
}

void blkd_who_free(struct blkd_holders *holders)
{
    free(holders); /* the first member of its block */
}
