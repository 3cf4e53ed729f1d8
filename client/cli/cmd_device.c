/* SPDX-License-Identifier: MIT */
/*
 * The commands that change a device as a whole or a range of it: flush, resize, discard, zero.
 */
#include <errno.h>
#include <inttypes.h>

#include "client/cli/cli.h"
#include "client/cli/report.h"
#include "client/cli/result.h"
#include "client/cli/size.h"
#include "client/cli/target.h"
#include "common/cleanup.h"

int cmd_flush(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    int error;
    int code = target_open(cli, BLKD_ACCESS_AUTO, &target);

    if (code != CLI_OK)
        return code;
    if (target.info.sync == BLKD_SYNC_NONE)
        report_warning(cli, "%s: opened with sync=none, so the flush does nothing",
                       target.config->path);
    error = blkd_flush(target.device);
    if (error)
        return report_library(cli, error);
    return result_print(cli, "flush", target.config->path, NULL, 0);
}

/* The requested size, in sectors. */
static int device_resolve_size(const struct cli *cli, const struct target *target,
                               uint64_t *ret_size_sectors)
{
    const char *text = cli->options.operands[1];
    uint32_t sector_size = target->info.sector_size;
    uint64_t bytes;
    int error = size_parse_relative(text, target_size_bytes(target),
                                    cli->options.sectors ? sector_size : 1, &bytes);

    if (error == -ERANGE)
        return report_usage(cli, "the new size (%s) is below 0 or above 2^64 bytes", text);
    if (error)
        return report_usage(cli, "'%s' is not a size (examples: 4096, 512M, +1G, -64K)", text);
    if (bytes % sector_size != 0)
        return report_usage(cli,
                            "the new size of %" PRIu64
                            " bytes is not a multiple of the sector size (%" PRIu32 " bytes)",
                            bytes, sector_size);
    *ret_size_sectors = bytes / sector_size;
    return CLI_OK;
}

int cmd_resize(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    uint64_t size_sectors = 0;
    int error;
    int code = target_open(cli, BLKD_ACCESS_READ_WRITE, &target);

    if (code == CLI_OK)
        code = device_resolve_size(cli, &target, &size_sectors);
    if (code != CLI_OK)
        return code;
    if (size_sectors < target.info.size_sectors && !cli->options.shrink)
        return report_usage(cli,
                            "%s: shrinking from %" PRIu64 " to %" PRIu64
                            " sectors would lose data; use --shrink to allow it",
                            target.config->path, target.info.size_sectors, size_sectors);
    code = target_refuse_format(cli, &target);
    if (code != CLI_OK)
        return code;
    error = blkd_resize(target.device, size_sectors);
    if (!error)
        error = target_close_changed(&target);
    if (error)
        return report_library(cli, error);
    return result_print(
        cli, "resize", target.config->path,
        (const struct result_number[]){{"size_bytes", size_sectors * target.info.sector_size},
                                       {"old_size_bytes", target_size_bytes(&target)}},
        2);
}

/* A range must have an explicit length: a forgotten one would destroy the rest of the device. */
static int device_check_extent(const struct cli *cli)
{
    const struct options *options = &cli->options;
    bool start = options->sector.given || options->offset_bytes.given;
    bool length = options->count_sectors.given || options->length_bytes.given;

    if (options->all && (start || length))
        return report_usage(cli, "--all cannot be combined with a range");
    if (!options->all && !length)
        return report_usage(cli, "no range given; use --count SECTORS, --length BYTES or --all");
    return CLI_OK;
}

static int device_resolve_extent(const struct cli *cli, const struct target *target,
                                 struct options_range *ret_range)
{
    uint32_t sector_size = target->info.sector_size;
    uint64_t size_bytes = target_size_bytes(target);
    struct options_range range;
    struct options_error reason;

    if (options_resolve_range(&cli->options, sector_size, size_bytes, &range, &reason))
        return report_usage(cli, "%s", reason.message);
    if (range.offset_bytes % sector_size != 0 || range.length_bytes % sector_size != 0)
        return report_usage(cli,
                            "offset %" PRIu64 " and length %" PRIu64
                            " are not both multiples of the sector size (%" PRIu32 " bytes)",
                            range.offset_bytes, range.length_bytes, sector_size);
    if (!cli->options.all && size_bytes > 0 && range.offset_bytes == 0 &&
        range.length_bytes >= size_bytes)
        return report_usage(cli, "%s: the range is the whole device; use --all to confirm",
                            target->config->path);
    *ret_range = range;
    return CLI_OK;
}

/* What discard and zero have in common: everything before the call itself. */
static int device_open_extent(struct cli *cli, struct target *target, uint64_t *ret_sector,
                              uint64_t *ret_count_sectors)
{
    struct options_range range = {0};
    int code = device_check_extent(cli);

    if (code == CLI_OK)
        code = target_open(cli, BLKD_ACCESS_READ_WRITE, target);
    if (code == CLI_OK)
        code = device_resolve_extent(cli, target, &range);
    /* Of the whole device, nothing is left that could be damaged. */
    if (code == CLI_OK && !cli->options.all)
        code = target_refuse_format(cli, target);
    if (code != CLI_OK)
        return code;
    *ret_sector = range.offset_bytes / target->info.sector_size;
    *ret_count_sectors = range.length_bytes / target->info.sector_size;
    return CLI_OK;
}

static int device_print_extent(struct cli *cli, const char *name, const struct target *target,
                               uint64_t sector, uint64_t count_sectors)
{
    const struct result_number numbers[] = {
        {"offset_bytes", sector * target->info.sector_size},
        {"length_bytes", count_sectors * target->info.sector_size}};

    return result_print(cli, name, target->config->path, numbers, 2);
}

int cmd_discard(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    uint64_t sector = 0;
    uint64_t count_sectors = 0;
    int error;
    int code = device_open_extent(cli, &target, &sector, &count_sectors);

    if (code != CLI_OK)
        return code;
    error = blkd_discard(target.device, sector, count_sectors);
    if (!error)
        error = target_close_changed(&target);
    if (error)
        return report_library(cli, error);
    return device_print_extent(cli, "discard", &target, sector, count_sectors);
}

int cmd_zero(struct cli *cli)
{
    CLEANUP_TARGET struct target target = {0};
    uint64_t sector = 0;
    uint64_t count_sectors = 0;
    int error;
    int code = device_open_extent(cli, &target, &sector, &count_sectors);

    if (code != CLI_OK)
        return code;
    error = blkd_write_zeroes(target.device, sector, count_sectors,
                              cli->options.fua ? BLKD_WRITE_FUA : 0);
    if (!error)
        error = target_close_changed(&target);
    if (error)
        return report_library(cli, error);
    return device_print_extent(cli, "zero", &target, sector, count_sectors);
}
