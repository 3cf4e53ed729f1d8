/* SPDX-License-Identifier: MIT */
/* See memory.h. */
#include "client/lib/core/memory.h"

#include <errno.h>

#include "client/lib/base/clock.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/traffic.h"
#include "client/lib/core/wait.h"

/* The daemon answers for the rings' set-up first, or at least refuses both. */
static int memory_ask(struct blkd *connection, size_t size_bytes)
{
    struct call *call = arenas_new_call(&connection->rings.shared, size_bytes);
    int result;

    if (call == NULL)
        return -ENOMEM;
    call->mode = CALL_WAITS;
    call_submit(call);
    traffic_push(connection);
    (void)wait_for_call(connection, call, CLOCK_NO_DEADLINE);
    result = call->result.error;
    call_release(call);
    return result;
}

int memory_add_arena(struct blkd *connection, size_t size_bytes)
{
    struct rings *rings = &connection->rings;
    size_t left = size_bytes % ARENA_PAGE_BYTES;

    if (connection_lost(connection))
        return -ENOTCONN;
    if (rings->setup.tier == BLKD_TIER_SOCKET)
        return -EOPNOTSUPP;
    (void)rings_choose(rings);
    if (rings->setup.state == RINGS_REFUSED)
        return -EOPNOTSUPP;
    if (left != 0 && __builtin_add_overflow(size_bytes, ARENA_PAGE_BYTES - left, &size_bytes))
        return -ENOMEM;
    return memory_ask(connection, size_bytes);
}

int memory_remove_arena(struct blkd *connection, struct arena *arena)
{
    int r = arenas_remove(&connection->rings.shared, arena);

    if (r == 0 && !dispatch_inside(connection)) {
        traffic_push(connection);
        wait_leave(connection);
    }
    return r;
}
