/* SPDX-License-Identifier: MIT */
#include "daemon/link/outgoing.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/wire.h"

int outgoing_pack(struct outgoing *outgoing, const Blkd__Reply *reply, size_t payload_bytes)
{
    size_t size = wire_reply_size(reply);
    outgoing->head = outgoing->inline_bytes;
    if (size > sizeof(outgoing->inline_bytes)) {
        outgoing->head = malloc(size);
        if (outgoing->head == NULL)
            return -ENOMEM;
    }
    wire_pack_reply(reply, (uint32_t)payload_bytes, outgoing->head);
    outgoing->head_bytes = size;
    outgoing->payload_bytes = payload_bytes;
    return 0;
}

void outgoing_deinit(struct outgoing *outgoing)
{
    if (outgoing->head != outgoing->inline_bytes)
        free(outgoing->head);
    outgoing->head = NULL;
    for (unsigned int i = 0; i < outgoing->fd_count; i++)
        (void)close(outgoing->fds[i]);
    outgoing->fd_count = 0;
}

static void on_outgoing_release(struct outgoing *outgoing)
{
    outgoing_deinit(outgoing);
    free(outgoing);
}

struct outgoing *outgoing_new(const Blkd__Reply *reply)
{
    struct outgoing *outgoing = calloc(1, sizeof(*outgoing));
    if (outgoing == NULL)
        return NULL;
    outgoing->release = on_outgoing_release;
    if (outgoing_pack(outgoing, reply, 0) < 0) {
        free(outgoing);
        return NULL;
    }
    return outgoing;
}
