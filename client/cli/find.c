/* SPDX-License-Identifier: MIT */
#include "client/cli/find.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client/cli/report.h"
#include "client/cli/size.h"
#include "common/cleanup.h"

void find_free_list(struct blkd_device_list **list)
{
    blkd_device_list_free(*list);
}

bool find_is_number(const char *argument, uint64_t *ret_number)
{
    const char *digits = argument + (argument[0] == '#');

    return digits[0] != '\0' && digits[strspn(digits, "0123456789")] == '\0' &&
           size_parse(digits, ret_number) == 0;
}

static bool find_same_path(const struct blkd_device_entry *device, const char *path)
{
    struct stat status;
    dev_t number;

    if (stat(path, &status) != 0)
        return false;
    number = device->kind == BLKD_DEVICE_BLOCK ? status.st_rdev : status.st_dev;
    if (S_ISBLK(status.st_mode) != (device->kind == BLKD_DEVICE_BLOCK) ||
        major(number) != device->major || minor(number) != device->minor)
        return false;
    return device->kind == BLKD_DEVICE_BLOCK || status.st_ino == device->inode;
}

bool find_matches(const struct blkd_device_entry *device, const char *argument)
{
    CLEANUP_CONFIG struct blkd_config *config = NULL;

    if (blkd_config_from_argument(argument, &config) != 0)
        return false;
    return find_same_path(device, config->path);
}

int find_device(struct cli *cli, const char *argument, uint64_t *ret_device)
{
    CLEANUP_DEVICES struct blkd_device_list *list = NULL;
    uint64_t number = 0;
    bool by_number = find_is_number(argument, &number);
    int error = blkd_list_devices(cli->connection, &list);

    if (error)
        return report_library(cli, error);
    *ret_device = 0;
    for (size_t i = 0; i < list->count && *ret_device == 0; i++) {
        const struct blkd_device_entry *device = list->entries[i];

        if (by_number ? device->device_number == number : find_matches(device, argument))
            *ret_device = device->device_number;
    }
    return CLI_OK;
}

int find_open_device(struct cli *cli, const char *argument, uint64_t *ret_device)
{
    int code = find_device(cli, argument, ret_device);

    if (code != CLI_OK || *ret_device != 0)
        return code;
    return report_failure(cli, "%s: not open in the daemon; 'blkd-cli ls' lists the open devices",
                          argument);
}

int find_asked_device(struct cli *cli, uint64_t *ret_device)
{
    int code = cli_connect(cli);

    *ret_device = 0;
    if (code == CLI_OK && cli->options.operand_count > 0)
        code = find_open_device(cli, cli->options.operands[0], ret_device);
    return code;
}
