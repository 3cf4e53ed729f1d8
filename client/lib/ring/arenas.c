/* SPDX-License-Identifier: MIT */
/* See arenas.h. */
#include "client/lib/ring/arenas.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "client/lib/ring/map.h"
#include "common/cleanup.h"

void arenas_init(struct arenas *arenas, bool scratch, struct call_table *calls,
                 struct descriptors *descriptors,
                 void (*on_answer)(struct arenas *, const struct call_result *))
{
    arena_set_init(&arenas->set);
    arenas->calls = calls;
    arenas->descriptors = descriptors;
    arenas->scratch = scratch;
    arenas->on_answer = on_answer;
}

void arenas_deinit(struct arenas *arenas)
{
    arena_set_deinit(&arenas->set, map_remove);
}

/* ---- AddArena ---- */

static void add_build(const struct call *call, const struct request *part, Blkd__Request *message,
                      union call_body *body)
{
    const struct arenas *arenas = call->asked.context;

    (void)part;
    blkd__add_arena__init(&body->add_arena);
    body->add_arena.scratch = arenas->scratch;
    body->add_arena.size_bytes = call->range.length_bytes;
    message->op_case = BLKD__REQUEST__OP_ADD_ARENA;
    message->add_arena = &body->add_arena;
}

static int add_reply(struct call *call, const Blkd__Reply *reply)
{
    struct arenas *arenas = call->asked.context;
    const Blkd__ArenaReply *arena = reply->arena;
    CLEANUP_CLOSE int fd = -1;
    void *memory;
    int r;

    if (reply->body_case != BLKD__REPLY__BODY_ARENA ||
        arena->size_bytes < call->range.length_bytes || arena->size_bytes % ARENA_PAGE_BYTES != 0)
        return -EPROTO;
    fd = descriptors_claim(arenas->descriptors);
    r = map_shared(fd, arena->size_bytes, &memory);
    if (r < 0)
        return r;
    r = arena_add(&arenas->set, arena->arena, memory, arena->size_bytes);
    if (r < 0)
        map_remove(memory, arena->size_bytes);
    else if (!arenas->scratch)
        arena_find_at(&arenas->set, memory)->fd = TAKE_FD(fd);
    return r;
}

static void add_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "asking for %" PRIu64 " bytes of shared memory",
                   call->range.length_bytes);
}

static void add_done(struct call *call)
{
    struct arenas *arenas = call->asked.context;

    if (arenas->on_answer != NULL)
        arenas->on_answer(arenas, &call->result);
}

static const struct operation add_operation = {
    .build = add_build,
    .on_reply = add_reply,
    .describe = add_describe,
    .on_done = add_done,
};

struct call *arenas_new_call(struct arenas *arenas, size_t size_bytes)
{
    struct call *call = call_new(arenas->calls);

    if (call == NULL)
        return NULL;
    call->operation = &add_operation;
    call->asked.context = arenas;
    call->range.length_bytes = size_bytes;
    return call;
}

/* ---- RemoveArena ---- */

static void remove_build(const struct call *call, const struct request *part,
                         Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__remove_arena__init(&body->remove_arena);
    body->remove_arena.arena = (uint32_t)call->range.offset_bytes;
    message->op_case = BLKD__REQUEST__OP_REMOVE_ARENA;
    message->remove_arena = &body->remove_arena;
}

static void remove_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "returning arena %" PRIu64, call->range.offset_bytes);
}

/* Its number stands in offset_bytes. */
static const struct operation remove_operation = {
    .build = remove_build,
    .describe = remove_describe,
};

int arenas_remove(struct arenas *arenas, struct arena *arena)
{
    struct call *call = call_new(arenas->calls);

    if (call == NULL)
        return -ENOMEM;
    call->operation = &remove_operation;
    call->range.offset_bytes = arena->number;
    if (arena->fd >= 0)
        (void)close(TAKE_FD(arena->fd));
    map_remove(arena->base, arena->size_bytes);
    arena_remove(&arenas->set, arena);
    call_submit(call);
    return 0;
}
