/* SPDX-License-Identifier: MIT */
/*
 * Memory that the daemon shares: how it comes and goes. The daemon makes it and seals it, so that
 * it cannot shrink under a mapping.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/lib/base/clock.h"
#include "client/lib/call/call.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/wait.h"
#include "client/lib/link/receiver.h"
#include "client/lib/link/sender.h"
#include "client/lib/ring/rings.h"
#include "common/cleanup.h"

int ring_map(int fd, size_t size_bytes, void **ret_memory)
{
    CLEANUP_CLOSE int memfd = fd;
    struct stat status;
    void *memory;

    if (memfd < 0)
        return -EPROTO;
    if (fstat(memfd, &status) < 0)
        return -errno;
    if (status.st_size < 0 || (uint64_t)status.st_size < size_bytes)
        return -EPROTO;
    memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    if (madvise(memory, size_bytes, MADV_DONTFORK) < 0) {
        int error = -errno;
        ring_unmap(memory, size_bytes);
        return error;
    }
    *ret_memory = memory;
    return 0;
}

void ring_unmap(void *memory, size_t size_bytes)
{
    (void)munmap(memory, size_bytes);
}

/* ---- AddArena ---- */

static void add_build(const struct call *call, const struct request *part, Blkd__Request *message,
                      union call_body *body)
{
    (void)part;
    blkd__add_arena__init(&body->add_arena);
    body->add_arena.size_bytes = call->length_bytes;
    message->op_case = BLKD__REQUEST__OP_ADD_ARENA;
    message->add_arena = &body->add_arena;
}

static int add_take(struct call *call, const Blkd__Reply *reply, struct arena_set *set)
{
    const Blkd__ArenaReply *arena = reply->arena;
    void *memory;
    int r;

    if (reply->body_case != BLKD__REPLY__BODY_ARENA || arena->size_bytes < call->length_bytes ||
        arena->size_bytes % ARENA_PAGE_BYTES != 0)
        return -EPROTO;
    r = ring_map(descriptors_claim(&call->connection->receiver.descriptors), arena->size_bytes,
                 &memory);
    if (r < 0)
        return r;
    r = arena_add(set, arena->arena, memory, arena->size_bytes);
    if (r < 0)
        ring_unmap(memory, arena->size_bytes);
    return r;
}

static int add_reply(struct call *call, const Blkd__Reply *reply)
{
    return add_take(call, reply, &call->connection->arenas);
}

static int bounce_reply(struct call *call, const Blkd__Reply *reply)
{
    return add_take(call, reply, &call->connection->rings.bounce);
}

static void add_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "asking for %" PRIu64 " bytes of shared memory", call->length_bytes);
}

static void bounce_done(struct call *call)
{
    rings_answered(call->connection, call->result, call->message);
}

static const struct operation add_operation = {
    .build = add_build,
    .on_reply = add_reply,
    .describe = add_describe,
};

static const struct operation bounce_operation = {
    .build = add_build,
    .on_reply = bounce_reply,
    .describe = add_describe,
    .on_done = bounce_done,
};

struct call *ring_new_bounce_call(struct blkd *connection)
{
    struct call *call = call_new(connection);

    if (call == NULL)
        return NULL;
    call->operation = &bounce_operation;
    call->length_bytes = RINGS_BOUNCE_BYTES;
    return call;
}

/* The daemon answers for the rings' set-up first, or at least refuses both. */
static int arena_wait(struct blkd *connection, size_t size_bytes)
{
    struct call *call = call_new(connection);
    int result;

    if (call == NULL)
        return -ENOMEM;
    call->operation = &add_operation;
    call->mode = CALL_WAITS;
    call->length_bytes = size_bytes;
    call_submit(call);
    sender_push(connection);
    (void)wait_for_call(call, CLOCK_NO_DEADLINE);
    result = call->result;
    call_release(call);
    return result;
}

int ring_add_arena(struct blkd *connection, size_t size_bytes)
{
    struct rings *rings = &connection->rings;
    size_t left = size_bytes % ARENA_PAGE_BYTES;

    if (connection->lost)
        return -ENOTCONN;
    if (rings->tier == BLKD_TIER_SOCKET)
        return -EOPNOTSUPP;
    (void)rings_choose(connection);
    if (rings->state == RINGS_REFUSED)
        return -EOPNOTSUPP;
    if (left != 0 && __builtin_add_overflow(size_bytes, ARENA_PAGE_BYTES - left, &size_bytes))
        return -ENOMEM;
    return arena_wait(connection, size_bytes);
}

/* ---- RemoveArena ---- */

static void remove_build(const struct call *call, const struct request *part,
                         Blkd__Request *message, union call_body *body)
{
    (void)part;
    blkd__remove_arena__init(&body->remove_arena);
    body->remove_arena.arena = (uint32_t)call->offset_bytes;
    message->op_case = BLKD__REQUEST__OP_REMOVE_ARENA;
    message->remove_arena = &body->remove_arena;
}

static void remove_describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "giving back arena %" PRIu64, call->offset_bytes);
}

/* Its number stands in offset_bytes. */
static const struct operation remove_operation = {
    .build = remove_build,
    .describe = remove_describe,
};

int ring_remove_arena(struct blkd *connection, struct arena *arena)
{
    struct call *call = call_new(connection);

    if (call == NULL)
        return -ENOMEM;
    call->operation = &remove_operation;
    call->offset_bytes = arena->number;
    ring_unmap(arena->base, arena->size_bytes);
    arena_remove(&connection->arenas, arena);
    call_submit(call);
    if (!dispatch_inside(connection)) {
        sender_push(connection);
        wait_leave(connection);
    }
    return 0;
}
