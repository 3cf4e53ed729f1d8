/* SPDX-License-Identifier: MIT */
/* Which locks are held and waited for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/api/pages.h"
#include "client/lib/base/error.h"
#include "client/lib/base/texts.h"
#include "client/lib/core/verb.h"

struct lock_list_block {
    struct blkd_lock_list list; /* first: what the user has */
    struct pages pages;
    struct blkd_lock_entry *entries;
    const struct blkd_lock_entry **pointers;
};

/* 0 or -ENOMEM. */
static int locks_point(struct lock_list_block *block, size_t count)
{
    void *pointers = pages_point(block->pointers, block->entries, sizeof(*block->entries), count);

    if (pointers == NULL)
        return -ENOMEM;
    block->pointers = pointers;
    block->list = (struct blkd_lock_list){count, block->pointers};
    return 0;
}

static void locks_build(const struct call *call, const struct request *part, Blkd__Request *message,
                        union call_body *body)
{
    const struct lock_list_block *block = call->asked.ret;

    (void)part;
    blkd__list_locks__init(&body->list_locks);
    body->list_locks.after_lock = block->pages.after;
    body->list_locks.device = call->asked.device_number;
    message->op_case = BLKD__REQUEST__OP_LIST_LOCKS;
    message->list_locks = &body->list_locks;
}

static size_t locks_text_bytes(const Blkd__LockList *message)
{
    size_t bytes = 0;

    for (size_t i = 0; i < message->n_locks; i++)
        bytes += message->locks[i]->path.len + 1 + strlen(message->locks[i]->purpose) + 1 +
                 strlen(message->locks[i]->command) + 1;
    return bytes;
}

static struct blkd_lock_entry locks_entry(const Blkd__LockEntry *from, char **position)
{
    return (struct blkd_lock_entry){
        .lock_number = from->lock,
        .device_number = from->device,
        .session_number = from->session,
        .path = texts_put(position, from->path.data, from->path.len),
        .mode = (enum blkd_lock_mode)from->mode,
        .wanted = (enum blkd_lock_mode)from->wanted,
        .position = from->position,
        .offset_bytes = from->offset_bytes,
        .length_bytes = from->length_bytes,
        .isolate = from->isolate,
        .waits_outside = from->waits_outside,
        .token = from->token,
        .since_unix_ms = from->since_unix_ms,
        .purpose = texts_put(position, from->purpose, strlen(from->purpose)),
        .pid = from->pid,
        .uid = from->uid,
        .command = texts_put(position, from->command, strlen(from->command)),
    };
}

static int locks_reply(struct call *call, const Blkd__Reply *reply)
{
    const Blkd__LockList *from = reply->locks;
    struct lock_list_block *block = call->asked.ret;
    struct blkd_lock_entry *entries;
    size_t count = block->list.count;
    char *position;

    if (reply->body_case != BLKD__REPLY__BODY_LOCKS || (from->more && from->n_locks == 0))
        return -EPROTO;
    entries = realloc(block->entries, (count + from->n_locks + 1) * sizeof(entries[0]));
    if (entries == NULL)
        return -ENOMEM;
    block->entries = entries;
    position = pages_add_text(&block->pages, locks_text_bytes(from));
    if (position == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_locks; i++) {
        entries[count + i] = locks_entry(from->locks[i], &position);
        block->pages.after = from->locks[i]->lock;
    }
    block->pages.more = from->more;
    return locks_point(block, count + from->n_locks);
}

static void locks_describe(const struct call *call, char *text, size_t size)
{
    (void)call;
    (void)snprintf(text, size, "listing locks");
}

static const struct operation locks_operation = {
    .build = locks_build,
    .on_reply = locks_reply,
    .describe = locks_describe,
};

int blkd_list_locks(struct blkd *connection, uint64_t device_number,
                    struct blkd_lock_list **ret_list)
{
    struct lock_list_block *block;
    int r = pages_check(connection, ret_list);

    if (r < 0)
        return r;
    block = calloc(1, sizeof(*block));
    if (block == NULL)
        return error_report(-ENOMEM, "not enough memory for a list of locks");
    do
        r = pages_get(connection, &locks_operation, device_number, block);
    while (r == 0 && block->pages.more);
    if (r < 0) {
        blkd_lock_list_free(&block->list);
        return r;
    }
    *ret_list = &block->list;
    return 0;
}

void blkd_lock_list_free(struct blkd_lock_list *list)
{
    struct lock_list_block *block = (struct lock_list_block *)(void *)list;

    if (block == NULL)
        return;
    pages_free_texts(&block->pages);
    free(block->pointers);
    free(block->entries);
    free(block);
}
