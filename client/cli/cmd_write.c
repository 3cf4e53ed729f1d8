/* SPDX-License-Identifier: MIT */
/*
 * `write`: any amount of input to a device. What can be checked in advance is refused before the
 * first byte is written; every later failure says how much was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/report.h"
#include "client/cli/result.h"
#include "client/cli/stream.h"
#include "client/cli/target.h"
#include "common/cleanup.h"

enum {
    PROGRESS_TEXT_MAX = 64,
};

struct writer {
    struct cli *cli;
    struct target target;
    struct stream stream;
    int input;
    const char *input_name;
    uint64_t start_bytes;
    uint64_t next_bytes;    /* the next piece goes here */
    uint64_t written_bytes; /* from start_bytes on, without a gap */
    uint64_t behind_bytes;  /* written after a piece that failed */
    bool limited;           /* by --count or --length: to limit_bytes of input */
    uint64_t limit_bytes;
    uint64_t input_bytes; /* read so far */
    bool ended;
};

static void writer_deinit(struct writer *writer)
{
    stream_deinit(&writer->stream);
    if (writer->input > STDIN_FILENO)
        (void)close(writer->input);
    target_close(&writer->target);
}

static int writer_open_input(struct writer *writer)
{
    const char *path = writer->cli->options.input_path;

    writer->input = STDIN_FILENO;
    writer->input_name = "stdin";
    if (!path)
        return CLI_OK;
    writer->input_name = path;
    writer->input = open(path, O_RDONLY | O_CLOEXEC);
    if (writer->input < 0)
        return report_errno(writer->cli, -errno, "cannot open %s", path);
    return CLI_OK;
}

static int writer_resolve(struct writer *writer)
{
    const struct options *options = &writer->cli->options;
    uint32_t sector_size = writer->target.info.sector_size;
    struct options_range range;
    struct options_error reason;

    if (options_resolve_range(options, sector_size, target_size_bytes(&writer->target), &range,
                              &reason))
        return report_usage(writer->cli, "%s", reason.message);
    if (range.offset_bytes % sector_size != 0)
        return report_usage(writer->cli,
                            "offset %" PRIu64 " is not a multiple of the sector size (%" PRIu32
                            " bytes)",
                            range.offset_bytes, sector_size);
    writer->start_bytes = range.offset_bytes;
    writer->next_bytes = range.offset_bytes;
    writer->limited = options->count_sectors.given || options->length_bytes.given;
    writer->limit_bytes = writer->limited ? range.length_bytes : UINT64_MAX;
    return CLI_OK;
}

/* What fstat says is the length of a regular file, but in /proc, /sys and the like, which have no
 * room of their own. tmpfs is told to have none if it has no limit. */
static bool writer_has_size(const struct writer *writer, const struct stat *status)
{
    struct statfs system;

    if (S_ISBLK(status->st_mode))
        return true;
    if (!S_ISREG(status->st_mode) || status->st_size == 0 || fstatfs(writer->input, &system) != 0)
        return false;
    return system.f_blocks != 0 || system.f_type == TMPFS_MAGIC;
}

/* The length of the input; false if it is not known in advance. */
static bool writer_foresee(const struct writer *writer, uint64_t *ret_bytes)
{
    struct stat status;
    off_t position;
    off_t end;

    if (fstat(writer->input, &status) != 0 || !writer_has_size(writer, &status))
        return false;
    position = lseek(writer->input, 0, SEEK_CUR);
    end = S_ISBLK(status.st_mode) ? lseek(writer->input, 0, SEEK_END) : status.st_size;
    if (position < 0 || end < position || lseek(writer->input, position, SEEK_SET) < 0)
        return false;
    *ret_bytes = (uint64_t)(end - position);
    return true;
}

static int writer_refuse_itself(const struct writer *writer)
{
    struct stat status;

    if (fstat(writer->input, &status) != 0 || !target_is_file(&writer->target, &status))
        return CLI_OK;
    return report_failure(writer->cli,
                          "%s: this is the device that is to be written, and it cannot be its own "
                          "input; nothing was written",
                          writer->input_name);
}

/* "nothing was written" or how much was. */
static const char *writer_progress(const struct writer *writer, char text[static PROGRESS_TEXT_MAX])
{
    if (writer->written_bytes == 0)
        return "nothing was written";
    (void)snprintf(text, PROGRESS_TEXT_MAX, "%" PRIu64 " bytes were written",
                   writer->written_bytes);
    return text;
}

static int writer_refuse_fraction(const struct writer *writer, uint64_t input_bytes)
{
    uint32_t sector_size = writer->target.info.sector_size;
    char progress[PROGRESS_TEXT_MAX];

    return report_failure(
        writer->cli,
        "%s: input length %" PRIu64 " is not a multiple of the sector size (%" PRIu32
        " bytes); %s; use --pad to fill the last sector with zeroes",
        writer->input_name, input_bytes, sector_size, writer_progress(writer, progress));
}

static int writer_refuse_short(const struct writer *writer, uint64_t input_bytes)
{
    char progress[PROGRESS_TEXT_MAX];

    return report_failure(
        writer->cli, "%s: input ended after %" PRIu64 " of %" PRIu64 " requested bytes; %s",
        writer->input_name, input_bytes, writer->limit_bytes, writer_progress(writer, progress));
}

/* Refuses, before anything is written, what cannot succeed. */
static int writer_check(const struct writer *writer)
{
    uint32_t sector_size = writer->target.info.sector_size;
    uint64_t size_bytes = target_size_bytes(&writer->target);
    uint64_t room = writer->start_bytes < size_bytes ? size_bytes - writer->start_bytes : 0;
    uint64_t length = writer->limit_bytes;
    uint64_t input_bytes;
    bool known = writer_foresee(writer, &input_bytes);

    if (known && writer->limited && input_bytes < writer->limit_bytes)
        return writer_refuse_short(writer, input_bytes);
    if (known && input_bytes < length)
        length = input_bytes;
    else if (!known && !writer->limited)
        return CLI_OK;
    if (length % sector_size != 0 && !writer->cli->options.pad)
        return writer_refuse_fraction(writer, length);
    if (length > room)
        return report_failure(writer->cli,
                              "%s: %" PRIu64 " bytes do not fit at offset %" PRIu64
                              " because the device ends at %" PRIu64 "; nothing was written",
                              writer->target.config->path, length, writer->start_bytes, size_bytes);
    return CLI_OK;
}

static int writer_open(struct writer *writer)
{
    struct cli *cli = writer->cli;
    int error;
    int code = writer_open_input(writer);

    if (code == CLI_OK)
        code = target_open(cli, BLKD_ACCESS_READ_WRITE, &writer->target);
    if (code == CLI_OK)
        code = writer_refuse_itself(writer);
    if (code == CLI_OK)
        code = target_refuse_format(cli, &writer->target);
    if (code == CLI_OK)
        code = writer_resolve(writer);
    if (code == CLI_OK)
        code = writer_check(writer);
    if (code != CLI_OK)
        return code;
    error = stream_init(&writer->stream, cli->connection, writer->target.device,
                        writer->target.info.sector_size);
    return error ? report_errno(cli, error, "%s: cannot prepare to write",
                                writer->target.config->path)
                 : CLI_OK;
}

/* Fills the piece from the input, up to its size, the limit or the end of the input. */
static int writer_fill(struct writer *writer, struct stream_piece *piece)
{
    uint64_t left = writer->limit_bytes - writer->input_bytes;
    size_t room = left < writer->stream.piece_bytes ? (size_t)left : writer->stream.piece_bytes;
    size_t filled = 0;

    while (filled < room) {
        ssize_t got = read(writer->input, (char *)piece->buffer.iov_base + filled, room - filled);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        filled += (size_t)got;
    }
    writer->ended = filled < writer->stream.piece_bytes;
    writer->input_bytes += filled;
    piece->buffer.iov_len = filled;
    return 0;
}

/* Says how much was written before the failure, and after it by requests that were in flight. */
static int writer_report(struct writer *writer, int error, const char *message,
                         enum blkd_reason reason)
{
    char progress[PROGRESS_TEXT_MAX];
    char behind[PROGRESS_TEXT_MAX] = "";

    if (writer->behind_bytes > 0)
        (void)snprintf(behind, sizeof(behind),
                       " before the failed part, %" PRIu64 " bytes after it", writer->behind_bytes);
    return report_partial(writer->cli, error, message, reason, "%s%s",
                          writer_progress(writer, progress), behind);
}

/* After a failure, waits for the pieces in flight and counts those that were written. */
static void writer_count_behind(struct writer *writer)
{
    while (writer->stream.in_flight > 0) {
        const struct stream_piece *piece = stream_wait(&writer->stream);

        if (!piece->result)
            writer->behind_bytes += piece->buffer.iov_len;
        stream_release(&writer->stream);
    }
}

/* Waits for the oldest piece and handles its result. */
static int writer_reap(struct writer *writer)
{
    struct stream_piece *piece = stream_wait(&writer->stream);
    enum blkd_reason reason;
    CLEANUP_FREE char *message = NULL;
    int error = piece->result;

    if (!error) {
        writer->written_bytes += piece->buffer.iov_len;
        stream_release(&writer->stream);
        return CLI_OK;
    }
    message = strdup(stream_message(piece));
    reason = piece->reason;
    stream_release(&writer->stream);
    writer_count_behind(writer);
    return writer_report(writer, error, message ? message : blkd_strerror(error), reason);
}

static int writer_reap_all(struct writer *writer)
{
    int code = CLI_OK;

    while (code == CLI_OK && writer->stream.in_flight > 0)
        code = writer_reap(writer);
    return code;
}

/* Pads the last piece to whole sectors. Without --pad, a partial sector is refused. */
static int writer_pad(struct writer *writer, struct stream_piece *piece)
{
    uint32_t sector_size = writer->target.info.sector_size;
    size_t fraction = piece->buffer.iov_len % sector_size;
    int code;

    if (fraction == 0)
        return CLI_OK;
    if (!writer->cli->options.pad) {
        code = writer_reap_all(writer);
        return code != CLI_OK ? code : writer_refuse_fraction(writer, writer->input_bytes);
    }
    memset((char *)piece->buffer.iov_base + piece->buffer.iov_len, 0, sector_size - fraction);
    piece->buffer.iov_len += sector_size - fraction;
    return CLI_OK;
}

static int writer_submit(struct writer *writer, struct stream_piece *piece)
{
    unsigned int flags = writer->cli->options.fua ? BLKD_WRITE_FUA : 0;
    int code;
    int error = writer_fill(writer, piece);

    if (error) {
        code = writer_reap_all(writer);
        return code != CLI_OK ? code
                              : report_errno(writer->cli, error,
                                             "cannot read %s after %" PRIu64 " bytes were written",
                                             writer->input_name, writer->written_bytes);
    }
    code = writer_pad(writer, piece);
    if (code != CLI_OK || piece->buffer.iov_len == 0)
        return code;
    piece->offset_bytes = writer->next_bytes;
    error = stream_submit_write(&writer->stream, piece, flags);
    if (error) {
        CLEANUP_FREE char *message = strdup(blkd_error_message());
        enum blkd_reason reason = blkd_error_reason();

        code = writer_reap_all(writer);
        return code != CLI_OK
                   ? code
                   : writer_report(writer, error, message ? message : blkd_strerror(error), reason);
    }
    writer->next_bytes += piece->buffer.iov_len;
    return CLI_OK;
}

static int writer_copy(struct writer *writer)
{
    int code = CLI_OK;

    while (code == CLI_OK && !writer->ended) {
        struct stream_piece *piece = stream_next(&writer->stream);

        code = piece ? writer_submit(writer, piece) : writer_reap(writer);
    }
    if (code == CLI_OK)
        code = writer_reap_all(writer);
    if (code == CLI_OK && writer->limited && writer->input_bytes < writer->limit_bytes)
        return writer_refuse_short(writer, writer->input_bytes);
    return code;
}

static int writer_flush(struct writer *writer)
{
    int error = blkd_flush(writer->target.device);

    if (!error)
        return CLI_OK;
    return report_partial(writer->cli, error, blkd_error_message(), blkd_error_reason(),
                          "%" PRIu64 " bytes were written but may not be on stable storage",
                          writer->written_bytes);
}

static int writer_close(struct writer *writer)
{
    int error = target_close_changed(&writer->target);

    return error ? report_library(writer->cli, error) : CLI_OK;
}

int cmd_write(struct cli *cli)
{
    CLEANUP(writer_deinit) struct writer writer = {.cli = cli, .input = -1};
    int code = writer_open(&writer);

    if (code == CLI_OK)
        code = writer_copy(&writer);
    if (code == CLI_OK && cli->options.flush)
        code = writer_flush(&writer);
    if (code == CLI_OK)
        code = writer_close(&writer);
    if (code != CLI_OK)
        return code;
    return result_print(cli, "write", writer.target.config->path,
                        (const struct result_number[]){{"offset_bytes", writer.start_bytes},
                                                       {"input_bytes", writer.input_bytes},
                                                       {"written_bytes", writer.written_bytes}},
                        3);
}
