/* SPDX-License-Identifier: MIT */
/*
 * Finds an open device of the daemon: by the number that lists show ("3" or "#3"), by a path or
 * configuration string of the same file or device node. Names that others gave are not compared.
 */
#ifndef BLKD_CLI_FIND_H
#define BLKD_CLI_FIND_H

#include <stdbool.h>
#include <stdint.h>

#include "client/cli/cli.h"

/* Whether the argument is a device's number; a file of that name is "./3". */
bool find_is_number(const char *argument, uint64_t *ret_number);

/* Whether `argument`, a path or configuration string, names this device. */
bool find_matches(const struct blkd_device_entry *device, const char *argument);

/* Its number, or 0 if it is not open. Returns CLI_OK, or reports a failure and returns the exit
 * code. The CLI is connected. */
int find_device(struct cli *cli, const char *argument, uint64_t *ret_device);

/* The same, but fails if the device is not open. */
int find_open_device(struct cli *cli, const char *argument, uint64_t *ret_device);

/* Connects the CLI and finds the device of its first operand; 0 without one: all devices. */
int find_asked_device(struct cli *cli, uint64_t *ret_device);

void find_free_list(struct blkd_device_list **list);

#define CLEANUP_DEVICES CLEANUP(find_free_list)

#endif
