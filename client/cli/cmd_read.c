/* SPDX-License-Identifier: MIT */
/*
 * `read`: any range of bytes, to stdout or a file. Whole sectors are read; the bytes of the first
 * and the last one that are outside the range are dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/hexdump.h"
#include "client/cli/output.h"
#include "client/cli/report.h"
#include "client/cli/result.h"
#include "client/cli/stream.h"
#include "client/cli/target.h"
#include "common/cleanup.h"

struct reader {
    struct cli *cli;
    struct target target;
    struct stream stream;
    struct options_range range; /* what is printed */
    uint64_t next_bytes;        /* the next piece starts here */
    uint64_t end_bytes;         /* a whole number of sectors */
    struct output output;
    bool hex;
    struct hexdump dump;
};

static void reader_deinit(struct reader *reader)
{
    stream_deinit(&reader->stream);
    output_deinit(&reader->output);
    target_close(&reader->target);
}

static int reader_resolve(struct reader *reader)
{
    uint32_t sector_size = reader->target.info.sector_size;
    uint64_t size_bytes = target_size_bytes(&reader->target);
    struct options_error reason;
    uint64_t end_bytes;

    if (options_resolve_range(&reader->cli->options, sector_size, size_bytes, &reader->range,
                              &reason))
        return report_usage(reader->cli, "%s", reason.message);
    end_bytes = reader->range.offset_bytes + reader->range.length_bytes;
    if (end_bytes > size_bytes)
        return report_failure(reader->cli,
                              "%s: bytes %" PRIu64 " to %" PRIu64
                              " go past the device's end at %" PRIu64 "; nothing was read",
                              reader->target.config->path, reader->range.offset_bytes, end_bytes,
                              size_bytes);
    reader->next_bytes = reader->range.offset_bytes - reader->range.offset_bytes % sector_size;
    /* The size is a whole number of sectors and so an upper bound. */
    reader->end_bytes = end_bytes + (sector_size - end_bytes % sector_size) % sector_size;
    return CLI_OK;
}

/* Opens the output last, so that a failure to open the device leaves an existing file alone. */
static int reader_open_output(struct reader *reader)
{
    const struct options *options = &reader->cli->options;
    int code = output_open(reader->cli, &reader->target, &reader->output);

    if (code != CLI_OK)
        return code;
    reader->hex = options->hex || (!options->raw && isatty(fileno(reader->output.file)) == 1);
    hexdump_init(&reader->dump, reader->output.file, reader->range.offset_bytes,
                 reader->range.offset_bytes + reader->range.length_bytes);
    return CLI_OK;
}

static int reader_open(struct reader *reader)
{
    struct cli *cli = reader->cli;
    int error;
    int code = target_open(cli, BLKD_ACCESS_READ_ONLY, &reader->target);

    if (code != CLI_OK)
        return code;
    code = reader_resolve(reader);
    if (code != CLI_OK)
        return code;
    error = stream_init(&reader->stream, cli->connection, reader->target.device,
                        reader->target.info.sector_size);
    if (error)
        return report_errno(cli, error, "%s: cannot prepare to read", reader->target.config->path);
    code = reader_open_output(reader);
    if (code == CLI_OK)
        target_warn_format(cli, &reader->target, target_format(&reader->target));
    return code;
}

/* Fills the pipeline. */
static int reader_submit(struct reader *reader)
{
    struct stream_piece *piece;

    while (reader->next_bytes < reader->end_bytes && (piece = stream_next(&reader->stream))) {
        uint64_t left = reader->end_bytes - reader->next_bytes;
        int error;

        piece->offset_bytes = reader->next_bytes;
        piece->buffer.iov_len =
            left < reader->stream.piece_bytes ? (size_t)left : reader->stream.piece_bytes;
        error = stream_submit_read(&reader->stream, piece);
        if (error)
            return report_library(reader->cli, error);
        reader->next_bytes += piece->buffer.iov_len;
    }
    return CLI_OK;
}

/* Writes the part of the piece that is in the range. */
static int reader_put(struct reader *reader, const struct stream_piece *piece)
{
    int error = output_begin(&reader->output);
    const uint8_t *bytes = piece->buffer.iov_base;
    uint64_t length = piece->buffer.iov_len;
    uint64_t range_end = reader->range.offset_bytes + reader->range.length_bytes;

    if (error)
        return error;
    if (piece->offset_bytes + length > range_end)
        length = range_end - piece->offset_bytes;
    if (piece->offset_bytes < reader->range.offset_bytes) {
        uint64_t skip = reader->range.offset_bytes - piece->offset_bytes;

        bytes += skip;
        length -= skip;
    }
    if (reader->hex)
        return hexdump_feed(&reader->dump, bytes, (size_t)length);
    return fwrite(bytes, 1, (size_t)length, reader->output.file) == length ? 0 : -errno;
}

static int reader_report_output(const struct reader *reader, int error)
{
    return report_output(reader->cli, error, reader->output.name);
}

static int reader_copy(struct reader *reader)
{
    for (;;) {
        const struct stream_piece *piece;
        int error;
        int code = reader_submit(reader);

        if (code != CLI_OK || reader->stream.in_flight == 0)
            return code;
        piece = stream_wait(&reader->stream);
        if (piece->result)
            return report_partial(reader->cli, piece->result, stream_message(piece), piece->reason,
                                  "the output stops before offset %" PRIu64, piece->offset_bytes);
        error = reader_put(reader, piece);
        if (error)
            return reader_report_output(reader, error);
        stream_release(&reader->stream);
    }
}

static int reader_finish(struct reader *reader)
{
    int error = output_begin(&reader->output);

    if (!error && reader->hex)
        error = hexdump_finish(&reader->dump);
    if (!error)
        error = output_finish(&reader->output);
    return error ? reader_report_output(reader, error) : CLI_OK;
}

int cmd_read(struct cli *cli)
{
    CLEANUP(reader_deinit) struct reader reader = {.cli = cli};
    int code;

    if (cli->options.hex && cli->options.raw)
        return report_usage(cli, "--hex and --raw cannot be used together");
    if (cli->options.json && !cli->options.output_path)
        return report_usage(cli, "--json needs --output, since the data goes to stdout");
    code = reader_open(&reader);
    if (code == CLI_OK && cli->options.json && reader.output.file == stdout)
        return report_usage(cli, "with --json, --output cannot be stdout");
    if (code == CLI_OK)
        code = reader_copy(&reader);
    if (code == CLI_OK)
        code = reader_finish(&reader);
    if (code != CLI_OK)
        return code;
    return result_print(cli, "read", reader.target.config->path,
                        (const struct result_number[]){{"offset_bytes", reader.range.offset_bytes},
                                                       {"length_bytes", reader.range.length_bytes}},
                        2);
}
