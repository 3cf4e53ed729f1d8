/* SPDX-License-Identifier: MIT */
/* Seek: where the next allocated sector or hole begins. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "common/range.h"
#include "daemon/device/session.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int seek_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->seek->session;
    request->asked.offset_bytes = message->seek->offset_bytes;
    if ((unsigned int)message->seek->target > BLKD__SEEK_TARGET__SEEK_TARGET_UNMAPPED)
        return -EINVAL;
    request->asked.value = (uint64_t)message->seek->target;
    return 0;
}

static void on_seek_done(struct io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, work.io);
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__SeekReply body = BLKD__SEEK_REPLY__INIT;
    if (result < 0) {
        request_fail(request, result, "seek from offset %llu of %s: lseek failed: %s",
                     (unsigned long long)io->offset_bytes, request->session->path,
                     strerror(-result));
        return;
    }
    body.offset_bytes = io->value;
    reply.body_case = BLKD__REPLY__BODY_SEEK;
    reply.seek = &body;
    request_reply(request, &reply);
}

/* A seek from past the end waits, once, until it has been looked at whether the device has grown.
 */
struct seek_look {
    struct request *request;
    struct look_wait wait;
};

static void on_seek_looked(struct look_wait *wait)
{
    seek_run(CONTAINER_OF(wait, struct seek_look, wait)->request);
}

/* False: it has been looked at already, or there is no memory to wait in. */
static bool seek_look(struct request *request)
{
    struct conn *conn = request->conn;
    struct seek_look *look = request->extra == NULL ? calloc(1, sizeof(*look)) : NULL;
    if (look == NULL)
        return false;
    request->extra = look;
    conn_charge(conn, request, sizeof(*look));
    look->request = request;
    look->wait = (struct look_wait){.loop = &conn->worker->io,
                                    .user_share = &conn->user->helper_share,
                                    .on_done = on_seek_looked};
    size_check_ask(request->session->device, &look->wait);
    return true;
}

void seek_run(struct request *request)
{
    struct session *session = request->session;
    struct device *device = session->device;
    pthread_mutex_lock(&device->mutex);
    uint64_t size_bytes = device->size_bytes;
    pthread_mutex_unlock(&device->mutex);
    size_bytes = range_round_down(size_bytes, session->sector_size);

    if (request->asked.offset_bytes > size_bytes && seek_look(request))
        return;
    if (request->asked.offset_bytes > size_bytes ||
        !range_is_aligned(request->asked.offset_bytes, session->sector_size)) {
        request_fail(request, -EINVAL,
                     "seek from offset %llu of %s: beyond the end at %llu, or not a multiple of "
                     "the sector size, %u bytes",
                     (unsigned long long)request->asked.offset_bytes, session->path,
                     (unsigned long long)size_bytes, session->sector_size);
        return;
    }
    request->work.io = (struct io){
        .op = IO_SEEK,
        .offset_bytes = request->asked.offset_bytes,
        .size_bytes = size_bytes,
        .sector_size = session->sector_size,
        .unmapped = request->asked.value == BLKD__SEEK_TARGET__SEEK_TARGET_UNMAPPED,
        .loop = &request->conn->worker->io,
        .user_share = &request->conn->user->helper_share,
        .on_done = on_seek_done,
    };
    backend_submit(device->backend, &request->work.io);
}
