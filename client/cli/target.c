/* SPDX-License-Identifier: MIT */
#include "client/cli/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/cli/report.h"
#include "common/cleanup.h"

enum {
    TARGET_SECTOR = 512, /* of a file, unless another size is requested */
    TARGET_ALIGN = 4096, /* what direct I/O requires at most on common disks */
};

/* The daemon cannot be asked to read what it does not open. */
static const struct format *target_peek(const char *path)
{
    struct stat status;
    char bytes[FORMAT_BYTES];
    ssize_t length;
    CLEANUP_CLOSE int fd = -1;

    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return NULL;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return NULL;
    length = pread(fd, bytes, sizeof(bytes), 0);
    return length > 0 ? format_find(bytes, (size_t)length) : NULL;
}

/* A size that is not a whole number of sectors is refused with advice (truncate) that would destroy
 * such an image. Says what it is instead. */
static int target_report_open(struct cli *cli, const struct blkd_config *config, int error)
{
    uint32_t sector_size = config->sector_size != 0 ? config->sector_size : TARGET_SECTOR;
    const struct format *format;
    struct stat status;

    if (error != -EINVAL || stat(config->path, &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_size % sector_size == 0)
        return report_library(cli, error);
    format = target_peek(config->path);
    if (!format)
        return report_library(cli, error);
    return report_failure(
        cli,
        "%s: this is a %s file of %jd bytes, which is not a multiple of the "
        "sector size (%" PRIu32 " bytes), and its bytes are not those of the disk "
        "in it; %s",
        config->path, format->name, (intmax_t)status.st_size, sector_size, format->advice);
}

/* Sectors that were numbered by one size are others by another. */
static int target_check_sectors(struct cli *cli, const struct target *target)
{
    const struct options *options = &cli->options;
    bool counted = options->sector_size.given || options->sector.given ||
                   options->count_sectors.given || options->range.given || options->sectors;

    if (!counted || target->config->sector_size == 0 ||
        target->config->sector_size == target->info.sector_size)
        return CLI_OK;
    return report_failure(cli,
                          "%s: sectors of %" PRIu32 " bytes were requested, but here they are of "
                          "%" PRIu32 "; nothing was done; use --offset and --length, or omit the "
                          "sector size",
                          target->config->path, target->config->sector_size,
                          target->info.sector_size);
}

static int target_open_as(struct cli *cli, enum blkd_access access, bool may_lock,
                          struct target *ret_target)
{
    struct target target = {0};
    int code = CLI_OK;
    int error = blkd_config_from_argument(cli->options.operands[0], &target.config);

    if (error)
        return report_usage(cli, "%s", blkd_error_message());
    options_apply(&cli->options, target.config);
    if (target.config->access == BLKD_ACCESS_AUTO)
        target.config->access = access;
    if (!may_lock)
        target.config->lock = false;
    code = cli_connect(cli);
    if (code == CLI_OK) {
        error = blkd_open(cli->connection, target.config, &target.device);
        if (error)
            code = target_report_open(cli, target.config, error);
        else if ((error = blkd_get_info(target.device, &target.info)) != 0)
            code = report_library(cli, error);
        else
            code = target_check_sectors(cli, &target);
    }
    if (code != CLI_OK)
        target_close(&target);
    else
        *ret_target = target;
    return code;
}

int target_open(struct cli *cli, enum blkd_access access, struct target *ret_target)
{
    return target_open_as(cli, access, true, ret_target);
}

int target_open_unlocked(struct cli *cli, enum blkd_access access, struct target *ret_target)
{
    return target_open_as(cli, access, false, ret_target);
}

void target_close(struct target *target)
{
    if (target->device)
        blkd_close(target->device);
    if (target->config)
        blkd_config_free(target->config);
    *target = (struct target){0};
}

int target_close_changed(struct target *target)
{
    int error = blkd_close(target->device);

    target->device = NULL;
    return error;
}

uint64_t target_size_bytes(const struct target *target)
{
    return target->info.size_sectors * target->info.sector_size;
}

bool target_same_file(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
        return a->st_rdev == b->st_rdev;
    return (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT) && a->st_dev == b->st_dev &&
           a->st_ino == b->st_ino;
}

bool target_is_file(const struct target *target, const struct stat *status)
{
    struct stat own;

    return stat(target->config->path, &own) == 0 && target_same_file(&own, status);
}

const struct format *target_format(const struct target *target)
{
    CLEANUP_FREE void *bytes = NULL;
    struct iovec buffer = {.iov_len = target->info.sector_size};

    if (target->info.size_sectors == 0 ||
        posix_memalign(&bytes, TARGET_ALIGN, target->info.sector_size) != 0)
        return NULL;
    buffer.iov_base = bytes;
    if (blkd_read(target->device, 0, &buffer, 1) != 0)
        return NULL;
    return format_find(bytes, buffer.iov_len);
}

void target_warn_format(struct cli *cli, const struct target *target, const struct format *format)
{
    if (format)
        report_warning(cli, "%s: this is a %s file: its bytes are not those of the disk in it; %s",
                       target->config->path, format->name, format->advice);
}

int target_refuse_format(struct cli *cli, const struct target *target)
{
    const struct format *format = cli->options.raw_anyway ? NULL : target_format(target);

    if (!format)
        return CLI_OK;
    return report_failure(cli,
                          "%s: this is a %s file: its bytes are not those of the disk in it, and "
                          "changing them may destroy it; nothing was written; %s, or use "
                          "--raw-anyway",
                          target->config->path, format->name, format->advice);
}
