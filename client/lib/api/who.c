/* SPDX-License-Identifier: MIT */
/*
 * Who has a device, by a descriptor of it that the library opens itself (openpath.h): first one
 * that only names it, which administrators may ask by, so that asking changes nothing; then one
 * that shows that this program may read it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

struct who_asking {
    bool may_read; /* the descriptor that is passed shows it */
    char path[];   /* as the program gave it */
};

static struct who_asking *who_asking_new(const char *path)
{
    size_t bytes = strlen(path) + 1;
    struct who_asking *asking = malloc(sizeof(*asking) + bytes);

    if (asking == NULL)
        return NULL;
    asking->may_read = false;
    memcpy(asking->path, path, bytes);
    return asking;
}

static void who_build(const struct call *call, const struct request *part, Blkd__Request *message,
                      union call_body *body)
{
    (void)part;
    blkd__who__init(&body->who);
    body->who.path = (ProtobufCBinaryData){strlen(call->asked.text), (uint8_t *)call->asked.text};
    body->who.descriptor = true;
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
    block = malloc(sizeof(*block) + from->n_holders * (sizeof(block->entries[0]) + sizeof(void *)) +
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

static bool who_retry(struct call *call)
{
    struct who_asking *asking = call->asked.context;
    int fd;

    if (call->result.error != -EACCES || asking->may_read)
        return false;
    asking->may_read = true;
    fd = openpath_open(asking->path, call->asked.text, BLKD_ACCESS_READ_ONLY);
    if (fd < 0) {
        call_set_failure(call, fd, "this program may not read it");
        return false;
    }
    call->passing.fd = fd;
    return true;
}

static const struct operation who_operation = {
    .build = who_build,
    .on_reply = who_reply,
    .describe = who_describe,
    .retry = who_retry,
    .release = free,
};

int blkd_who(struct blkd *connection, const char *path, struct blkd_holders **ret_holders)
{
    CLEANUP_FREE char *name = NULL;
    CLEANUP_CLOSE int fd = -1;
    struct call *call;
    int r = pages_check(connection, ret_holders);

    if (r == 0)
        r = config_path_name(path, &name);
    if (r == 0)
        r = fd = openpath_locate(path, name);
    if (r >= 0)
        r = verb_begin(connection, NULL, &who_operation, CALL_WAITS, &call);
    if (r != 0)
        return r;
    call->asked.context = who_asking_new(path);
    if (call->asked.context == NULL)
        return verb_abandon(call, error_report(-ENOMEM, "not enough memory to ask about %s", path));
    call->asked.text = TAKE_PTR(name);
    call->asked.ret = ret_holders;
    call->passing.asked = true;
    call->passing.fd = TAKE_FD(fd);
    return verb_run(call);
}

void blkd_who_free(struct blkd_holders *holders)
{
    free(holders); /* the first member of its block */
}
