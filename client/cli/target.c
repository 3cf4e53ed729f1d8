/* SPDX-License-Identifier: MIT */
#include "client/cli/target.h"

#include "client/cli/report.h"

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
        if (!error)
            error = blkd_get_info(target.device, &target.info);
        if (error)
            code = report_library(cli, error);
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
