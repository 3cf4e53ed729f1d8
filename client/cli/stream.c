/* SPDX-License-Identifier: MIT */
#include "client/cli/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

enum {
    STREAM_ALIGN = 4096, /* of the buffers: what direct I/O asks for at most on common disks */
};

int stream_init(struct stream *stream, struct blkd *connection, struct blkd_device *device,
                uint32_t sector_size)
{
    struct blkd_server_info server;
    size_t piece_bytes = STREAM_PIECE_MAX;
    int error = blkd_get_server_info(connection, &server);

    if (error)
        return error;
    if (server.max_io_bytes >= sector_size && server.max_io_bytes < piece_bytes)
        piece_bytes = server.max_io_bytes - server.max_io_bytes % sector_size;
    *stream = (struct stream){.connection = connection,
                              .device = device,
                              .sector_size = sector_size,
                              .piece_bytes = piece_bytes};
    error = -posix_memalign(&stream->memory, STREAM_ALIGN, STREAM_DEPTH * piece_bytes);
    if (error)
        return error;
    for (size_t i = 0; i < STREAM_DEPTH; i++)
        stream->pieces[i].buffer.iov_base = (char *)stream->memory + i * piece_bytes;
    return 0;
}

struct stream_piece *stream_next(struct stream *stream)
{
    if (stream->in_flight == STREAM_DEPTH)
        return NULL;
    return &stream->pieces[(stream->oldest + stream->in_flight) % STREAM_DEPTH];
}

static void on_piece_done(void *user_data, int result)
{
    struct stream_piece *piece = user_data;

    if (result) {
        piece->message = strdup(blkd_error_message());
        piece->reason = blkd_error_reason();
    }
    piece->result = result;
    piece->done = true;
}

const char *stream_message(const struct stream_piece *piece)
{
    return piece->message ? piece->message : blkd_strerror(piece->result);
}

/* Counts the piece as in flight and sends it off, for the caller may be busy elsewhere for long.
 * What goes wrong there comes out of the piece's own result. */
static int stream_submitted(struct stream *stream, int error)
{
    if (error)
        return error;
    stream->in_flight++;
    (void)blkd_dispatch(stream->connection, 0);
    return 0;
}

int stream_submit_read(struct stream *stream, struct stream_piece *piece)
{
    piece->done = false;
    return stream_submitted(stream, blkd_read_async(stream->device,
                                                    piece->offset_bytes / stream->sector_size,
                                                    &piece->buffer, 1, on_piece_done, piece));
}

int stream_submit_write(struct stream *stream, struct stream_piece *piece, unsigned int flags)
{
    piece->done = false;
    return stream_submitted(
        stream, blkd_write_async(stream->device, piece->offset_bytes / stream->sector_size,
                                 &piece->buffer, 1, flags, on_piece_done, piece));
}

struct stream_piece *stream_wait(struct stream *stream)
{
    struct stream_piece *piece = &stream->pieces[stream->oldest];

    while (!piece->done) {
        int done = blkd_dispatch(stream->connection, -1);

        if (done < 0 && done != -EINTR && !piece->done)
            on_piece_done(piece, done);
    }
    return piece;
}

void stream_release(struct stream *stream)
{
    free(TAKE_PTR(stream->pieces[stream->oldest].message));
    stream->oldest = (stream->oldest + 1) % STREAM_DEPTH;
    stream->in_flight--;
}

void stream_deinit(struct stream *stream)
{
    while (stream->in_flight > 0) {
        (void)stream_wait(stream);
        stream_release(stream);
    }
    free(TAKE_PTR(stream->memory));
}
