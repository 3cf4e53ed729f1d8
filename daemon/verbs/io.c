/* SPDX-License-Identifier: MIT */
/*
 * Reads, writes and zeroings: may it (gate_begin), do it (gate_submit), count it (gate_end),
 * answer. dispatch has seen to the session, the alignment and read-only sessions.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "common/limits.h"
#include "daemon/base/log.h"
#include "daemon/device/session.h"
#include "daemon/link/channel.h"
#include "daemon/link/conn.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int read_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Read *read = message->read;
    request->asked.session = read->session;
    request->asked.offset_bytes = read->offset_bytes;
    request->asked.length_bytes = read->length_bytes;
    request->asked.transfer_end_bytes = read->transfer_end_bytes;
    return 0;
}

int write_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Write *write = message->write;
    request->asked.session = write->session;
    request->asked.offset_bytes = write->offset_bytes;
    request->asked.length_bytes = request->payload.bytes;
    request->asked.transfer_end_bytes = write->transfer_end_bytes;
    request->asked.flags = write->flags;
    return 0;
}

int discard_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Discard *discard = message->discard;
    request->asked.session = discard->session;
    request->asked.offset_bytes = discard->offset_bytes;
    request->asked.length_bytes = discard->length_bytes;
    return 0;
}

int write_zeroes_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__WriteZeroes *zeroes = message->write_zeroes;
    request->asked.session = zeroes->session;
    request->asked.offset_bytes = zeroes->offset_bytes;
    request->asked.length_bytes = zeroes->length_bytes;
    request->asked.flags = zeroes->flags;
    return 0;
}

/* The message of a failure: operation, path, range, reason. */
static void io_fail(struct request *request, int error, const char *reason)
{
    request_fail(request, error, "%s of %llu bytes at offset %llu of %s: %s",
                 request->operation->name, (unsigned long long)request->asked.length_bytes,
                 (unsigned long long)request->asked.offset_bytes, request->session->path, reason);
}

static void io_refuse(struct request *request, int error, const struct gate_refusal *refusal)
{
    request->refusal = refusal->reason;
    io_fail(request, error, refusal->text);
}

static void io_log_failure(const struct request *request, int error)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_ERROR, "io-error");
    log_text(&line, "operation", request->operation->name);
    log_number(&line, "device", request->session->device->number);
    log_text(&line, "path", request->session->path);
    log_number(&line, "offset", request->asked.offset_bytes);
    log_number(&line, "length", request->asked.length_bytes);
    log_number(&line, "session", request->session->number);
    log_errno(&line, error);
    log_end(&line);
}

/* Where the whole transfer ends that this request is a part of. */
static uint64_t io_end_bytes(const struct request *request)
{
    uint64_t end = request->asked.offset_bytes + request->asked.length_bytes;
    return request->asked.transfer_end_bytes > end ? request->asked.transfer_end_bytes : end;
}

static void io_answer_failure(struct request *request, int error)
{
    io_log_failure(request, error);
    io_fail(request, error, strerror(-error));
}

static void on_io_failure_marked(struct flush *wait, int failed)
{
    struct request *request = CONTAINER_OF(wait, struct request, work.flush);
    (void)failed; /* the device's, which another may have caused: this one has its own */
    io_answer_failure(request, request->work.io.result);
}

/* A write that was to be stable can fail the device: nobody is told before that is remembered. */
static bool io_waits_for_mark(struct request *request, int error)
{
    request->work.io.result = error;
    request->work.flush =
        (struct flush){.loop = &request->conn->worker->io, .on_done = on_io_failure_marked};
    return request->work.io.fua && flush_await_mark(request->session->device, &request->work.flush);
}

static void on_io_done(struct io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, work.io);
    struct session *session = request->session;
    gate_end(session->device, session, io, request->work.ticket, result);
    if (result == 0 && io->op == IO_READ)
        request_reply_payload(request);
    else if (result == 0)
        request_finish(request, 0);
    else if (!io_waits_for_mark(request, result))
        io_answer_failure(request, result);
}

/* Memory that the engine may keep pinned, for direct transfers in place. */
static const struct engine_memory *io_memory(const struct request *request, const uint8_t *data)
{
    if (data == NULL || data != request->ring.memory || !request->session->device->direct)
        return NULL;
    return channel_arena_memory(request->ring.channel, request->ring.arena);
}

static void io_submit(struct request *request, enum io_op op, uint8_t *data)
{
    struct io *io = &request->work.io;
    io->op = op;
    io->fua = (request->asked.flags & BLKD__WRITE_FLAG__WRITE_FLAG_FUA) != 0;
    io->offset_bytes = request->asked.offset_bytes;
    io->length_bytes = request->asked.length_bytes;
    io->data = data;
    io->memory = io_memory(request, data);
    io->loop = &request->conn->worker->io;
    io->user_share = &request->conn->user->helper_share;
    io->on_done = on_io_done;
    gate_submit(request->session->device, io);
}

/* ---- past the end: has it grown? ---- */

/* A request that seems to go past the end, and waits until the device has been looked at. */
struct io_look {
    struct request *request;
    enum io_op op;
    struct look_wait wait;
};

static int io_begin_at(struct request *request, enum io_op op, struct gate_refusal *ret_refusal)
{
    struct session *session = request->session;
    return gate_begin(session->device, session, op, request->asked.offset_bytes,
                      io_end_bytes(request), &request->work.ticket, ret_refusal);
}

static uint8_t *io_data(struct request *request, enum io_op op)
{
    if (op == IO_READ)
        return request->payload.buffer != NULL ? request->payload.buffer->data
                                               : request->ring.memory;
    return op == IO_WRITE ? (uint8_t *)(uintptr_t)request->payload.data : NULL;
}

static void on_io_looked(struct look_wait *wait)
{
    struct io_look *look = CONTAINER_OF(wait, struct io_look, wait);
    struct gate_refusal refusal;
    int error = io_begin_at(look->request, look->op, &refusal);
    if (error < 0)
        io_refuse(look->request, error, &refusal);
    else
        io_submit(look->request, look->op, io_data(look->request, look->op));
}

/* False: no memory to wait in. */
static bool io_look(struct request *request, enum io_op op)
{
    struct conn *conn = request->conn;
    struct io_look *look = calloc(1, sizeof(*look));
    if (look == NULL)
        return false;
    request->extra = look;
    if (op == IO_WRITE && request_own_payload(request) < 0)
        return false;
    request->work.io.borrowed = false;
    conn_charge(conn, request, sizeof(*look));
    look->request = request;
    look->op = op;
    look->wait = (struct look_wait){.loop = &conn->worker->io,
                                    .user_share = &conn->user->helper_share,
                                    .on_done = on_io_looked};
    size_check_ask(request->session->device, &look->wait);
    return true;
}

/* False: it is refused, or goes on later. */
static bool io_begin(struct request *request, enum io_op op)
{
    struct gate_refusal refusal;
    int error = io_begin_at(request, op, &refusal);
    if (error < 0 && !(refusal.bounds && io_look(request, op)))
        io_refuse(request, error, &refusal);
    return error == 0;
}

/* No unknown flag is ignored: a client that sets one relies on it. */
static bool io_check_flags(struct request *request)
{
    if ((request->asked.flags & ~(uint32_t)BLKD__WRITE_FLAG__WRITE_FLAG_FUA) == 0)
        return true;
    io_fail(request, -EINVAL, "unknown flag");
    return false;
}

/* Direct I/O of what a client has put anywhere in its arena goes through a buffer: some drivers
 * (zram, 6.18) write whole pages around memory that is not aligned to them. */
static bool io_is_in_place(const struct request *request)
{
    return request->ring.channel != NULL &&
           (!request->session->device->direct ||
            ((uintptr_t)request->ring.memory & (PIECE_PAGE_BYTES - 1)) == 0);
}

/* False: no memory. */
static bool io_get_buffer(struct request *request)
{
    if (request->payload.buffer == NULL)
        request->payload.buffer =
            buffer_get(&request->conn->worker->memory.buffers, request->asked.length_bytes);
    if (request->payload.buffer == NULL) {
        io_fail(request, -ENOMEM, "out of memory");
        return false;
    }
    conn_charge(request->conn, request, request->asked.length_bytes);
    return true;
}

void read_run(struct request *request)
{
    if (request->asked.length_bytes > IO_BYTES_MAX) {
        io_fail(request, -EINVAL, "longer than the maximum; split it");
        return;
    }
    if (!io_is_in_place(request) && !io_get_buffer(request))
        return;
    if (io_begin(request, IO_READ))
        io_submit(request, IO_READ, io_data(request, IO_READ));
}

/* Where the bytes stay until they are written. False: no memory. */
static bool write_take_payload(struct request *request)
{
    request->work.io.borrowed = false;
    if (request->ring.channel == NULL) {
        request->work.io.borrowed = backend_writes_inline(request->session->device->backend);
        if (request->work.io.borrowed || request_own_payload(request) == 0)
            return true;
        io_fail(request, -ENOMEM, "out of memory");
        return false;
    }
    request->payload.data = request->ring.memory;
    if (io_is_in_place(request))
        return true;
    if (!io_get_buffer(request))
        return false;
    (void)memcpy(request->payload.buffer->data, request->ring.memory, request->asked.length_bytes);
    request->payload.data = request->payload.buffer->data;
    return true;
}

void write_run(struct request *request)
{
    if (!io_check_flags(request) || !write_take_payload(request))
        return;
    if (io_begin(request, IO_WRITE))
        io_submit(request, IO_WRITE, io_data(request, IO_WRITE));
}

void zero_run(struct request *request)
{
    if (io_check_flags(request) && io_begin(request, IO_ZERO))
        io_submit(request, IO_ZERO, NULL);
}

void discard_run(struct request *request)
{
    if (io_begin(request, IO_DISCARD))
        io_submit(request, IO_DISCARD, NULL);
}
