/* SPDX-License-Identifier: MIT */
#include "daemon/link/dispatch.h"

#include <errno.h>

#include "common/range.h"
#include "common/ring.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

static const struct operation operations[] = {
    [BLKD__REQUEST__OP_HELLO] = {"hello", OP_HELLO, hello_prepare, hello_run},
    [BLKD__REQUEST__OP_PING] = {"ping", 0, ping_prepare, ping_run},
    [BLKD__REQUEST__OP_OPEN] = {"open", 0, open_prepare, open_run},
    [BLKD__REQUEST__OP_CLOSE] = {"close", OP_SESSION, close_prepare, close_run},
    [BLKD__REQUEST__OP_GET_INFO] = {"get_info", OP_SESSION, get_info_prepare, get_info_run},
    [BLKD__REQUEST__OP_GET_CONFIG] = {"get_config", OP_SESSION, get_config_prepare, get_config_run},
    [BLKD__REQUEST__OP_READ] = {"read", OP_SESSION | OP_ALIGNED, read_prepare, read_run},
    [BLKD__REQUEST__OP_WRITE] = {"write", OP_SESSION | OP_PAYLOAD | OP_CHANGES | OP_ALIGNED,
                                 write_prepare, write_run},
    [BLKD__REQUEST__OP_FLUSH] = {"flush", OP_SESSION, flush_prepare, flush_run},
    [BLKD__REQUEST__OP_DISCARD] = {"discard", OP_SESSION | OP_CHANGES | OP_ALIGNED, discard_prepare,
                                   discard_run},
    [BLKD__REQUEST__OP_WRITE_ZEROES] = {"write_zeroes", OP_SESSION | OP_CHANGES | OP_ALIGNED,
                                        write_zeroes_prepare, zero_run},
    [BLKD__REQUEST__OP_RESIZE] = {"resize", OP_SESSION | OP_CHANGES, resize_prepare, resize_run},
    [BLKD__REQUEST__OP_SEEK] = {"seek", OP_SESSION, seek_prepare, seek_run},
    [BLKD__REQUEST__OP_LIST_DEVICES] = {"list_devices", 0, list_devices_prepare, list_devices_run},
    [BLKD__REQUEST__OP_LOCK] = {"lock", OP_SESSION, lock_prepare, lock_run},
    [BLKD__REQUEST__OP_UNLOCK] = {"unlock", OP_SESSION, unlock_prepare, unlock_run},
    [BLKD__REQUEST__OP_BREAK_LOCK] = {"break_lock", 0, break_lock_prepare, break_lock_run},
    [BLKD__REQUEST__OP_EVICT] = {"evict", 0, evict_prepare, evict_run},
    [BLKD__REQUEST__OP_RECOVER] = {"recover", 0, recover_prepare, recover_run},
    [BLKD__REQUEST__OP_WATCH] = {"watch", 0, watch_prepare, watch_run},
    [BLKD__REQUEST__OP_LIST_SESSIONS] = {"list_sessions", 0, list_sessions_prepare,
                                         list_sessions_run},
    [BLKD__REQUEST__OP_WHO] = {"who", 0, who_prepare, who_run},
    [BLKD__REQUEST__OP_SETUP_RING] = {"setup_ring", 0, setup_ring_prepare, setup_ring_run},
    [BLKD__REQUEST__OP_ADD_ARENA] = {"add_arena", 0, add_arena_prepare, add_arena_run},
    [BLKD__REQUEST__OP_REMOVE_ARENA] = {"remove_arena", 0, remove_arena_prepare, remove_arena_run},
    [BLKD__REQUEST__OP_LIST_LOCKS] = {"list_locks", 0, list_locks_prepare, list_locks_run},
};

const struct operation *dispatch_find(const Blkd__Request *message)
{
    unsigned int number = (unsigned int)message->op_case;
    if (number >= sizeof(operations) / sizeof(operations[0]) || operations[number].run == NULL)
        return NULL;
    return &operations[number];
}

const struct operation *dispatch_find_ring(unsigned int number)
{
    static const Blkd__Request__OpCase ring_operations[] = {
        [RING_READ] = BLKD__REQUEST__OP_READ,
        [RING_WRITE] = BLKD__REQUEST__OP_WRITE,
        [RING_FLUSH] = BLKD__REQUEST__OP_FLUSH,
        [RING_DISCARD] = BLKD__REQUEST__OP_DISCARD,
        [RING_WRITE_ZEROES] = BLKD__REQUEST__OP_WRITE_ZEROES,
    };
    if (number == 0 || number >= sizeof(ring_operations) / sizeof(ring_operations[0]))
        return NULL;
    return &operations[ring_operations[number]];
}

static bool dispatch_is_aligned(struct request *request)
{
    uint32_t sector = request->session->sector_size;
    uint64_t end = 0;
    const char *name = request->operation->name;
    if (request->length_bytes == 0 || !range_is_aligned(request->offset_bytes, sector) ||
        !range_is_aligned(request->length_bytes, sector))
        request_fail(request, -EINVAL,
                     "%s of %llu bytes at offset %llu: not a whole number of sectors of %u bytes",
                     name, (unsigned long long)request->length_bytes,
                     (unsigned long long)request->offset_bytes, sector);
    else if (!range_end(request->offset_bytes, request->length_bytes, &end))
        request_fail(request, -EINVAL, "%s of %llu bytes at offset %llu: beyond any offset", name,
                     (unsigned long long)request->length_bytes,
                     (unsigned long long)request->offset_bytes);
    else
        return true;
    return false;
}

void dispatch_run(struct request *request)
{
    unsigned int flags = request->operation->flags;
    if ((flags & OP_SESSION) != 0) {
        struct session *session = conn_find_session(request->conn, request->session_number);
        if (session == NULL) {
            request_fail(request, -EBADF, "%s: this connection has no open session %llu",
                         request->operation->name, (unsigned long long)request->session_number);
            return;
        }
        request->session = session;
        session_hold(session);
        if ((flags & OP_CHANGES) != 0 && !session->read_write) {
            request_fail(request, -EROFS, "%s: %s is open read-only", request->operation->name,
                         session->path);
            return;
        }
    }
    if ((flags & OP_ALIGNED) != 0 && !dispatch_is_aligned(request))
        return;
    request->operation->run(request);
}
