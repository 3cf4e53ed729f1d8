/* SPDX-License-Identifier: MIT */
#include "daemon/link/dispatch.h"

#include <errno.h>

#include "common/range.h"
#include "common/ring.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/link/sessions.h"

static const struct operation *dispatch_entry(const struct operation_table *table,
                                              unsigned int number)
{
    if (number >= table->count || table->operations[number].run == NULL)
        return NULL;
    return &table->operations[number];
}

const struct operation *dispatch_find(const struct operation_table *table,
                                      const Blkd__Request *message)
{
    return dispatch_entry(table, (unsigned int)message->op_case);
}

const struct operation *dispatch_find_ring(const struct operation_table *table, unsigned int number)
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
    return dispatch_entry(table, (unsigned int)ring_operations[number]);
}

static bool dispatch_is_aligned(struct request *request)
{
    uint32_t sector = request->session->sector_size;
    uint64_t end = 0;
    const char *name = request->operation->name;
    if (request->asked.length_bytes == 0 ||
        !range_is_aligned(request->asked.offset_bytes, sector) ||
        !range_is_aligned(request->asked.length_bytes, sector))
        request_fail(request, -EINVAL,
                     "%s of %llu bytes at offset %llu: not a multiple of the sector size, %u bytes",
                     name, (unsigned long long)request->asked.length_bytes,
                     (unsigned long long)request->asked.offset_bytes, sector);
    else if (!range_end(request->asked.offset_bytes, request->asked.length_bytes, &end))
        request_fail(request, -EINVAL, "%s of %llu bytes at offset %llu: offset + length overflows",
                     name, (unsigned long long)request->asked.length_bytes,
                     (unsigned long long)request->asked.offset_bytes);
    else
        return true;
    return false;
}

void dispatch_run(struct request *request)
{
    unsigned int flags = request->operation->flags;
    if ((flags & OP_SESSION) != 0) {
        struct session *session = sessions_find(request->conn, request->asked.session);
        if (session == NULL) {
            request_fail(request, -EBADF, "%s: no session %llu is open on this connection",
                         request->operation->name, (unsigned long long)request->asked.session);
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
