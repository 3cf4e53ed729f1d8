/* SPDX-License-Identifier: MIT */
/*
 * All options of all commands in one table, used for parsing and for --help. A command accepts the
 * groups of options that its entry names. Pure.
 */
#ifndef BLKD_CLI_OPTIONS_H
#define BLKD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/blkd.h"

enum options_group {
    OPTIONS_GLOBAL = 1 << 0,
    OPTIONS_JSON = 1 << 1,
    OPTIONS_DEVICE = 1 << 2, /* how the device is opened */
    OPTIONS_RANGE = 1 << 3,  /* which part of it */
    OPTIONS_ALL = 1 << 4,
    OPTIONS_FUA = 1 << 5,
    OPTIONS_READ = 1 << 6,
    OPTIONS_WRITE = 1 << 7,
    OPTIONS_RESIZE = 1 << 8,
    OPTIONS_MAP = 1 << 9,
    OPTIONS_CONFIG = 1 << 10,
    OPTIONS_PING = 1 << 11,
    OPTIONS_MAIN = 1 << 12, /* before a command only */
    OPTIONS_LOCK = 1 << 13, /* which lock */
    OPTIONS_TAKE = 1 << 14,
    OPTIONS_WAIT = 1 << 15,
    OPTIONS_BREAK = 1 << 16,
    OPTIONS_REST = 1 << 17,  /* what follows "--" is not operands but a command to run */
    OPTIONS_ADMIN = 1 << 18, /* no options: root only */
    OPTIONS_CHANGE = 1 << 19,
};

struct options_number {
    bool given;
    uint64_t value;
};

/* SECTOR:COUNT */
struct options_sectors {
    bool given;
    uint64_t first, count;
};

enum {
    OPTIONS_NOT_GIVEN = -1,
    OPTIONS_OPERANDS_MAX = 2, /* no command takes more */
    OPTIONS_MESSAGE_MAX = 256,
};

/* Start from OPTIONS_INIT. Texts point into argv. */
struct options {
    bool help, version, json;
    const char *socket_path;

    int buffered; /* of the device's configuration: OPTIONS_NOT_GIVEN, or what overrides it */
    int sync;
    int access;
    bool lock, strict, give_back;
    const char *purpose;
    struct options_number sector_size;

    struct options_number sector, offset_bytes;
    struct options_number count_sectors, length_bytes;

    bool all, fua, hex, raw, raw_anyway, flush, pad, sectors, shrink, total;
    const char *input_path;
    const char *output_path;
    const char *parse;
    struct options_number ping_count;
    struct options_number interval_ms;

    bool shared, isolate, kill_on_loss;
    struct options_sectors range;
    struct options_number wait_ms; /* OPTIONS_WAIT_FOREVER: given without a time */
    struct options_number session;

    const char *operands[OPTIONS_OPERANDS_MAX];
    size_t operand_count;
    char **rest; /* behind "--", with OPTIONS_REST; up to a NULL */
    size_t rest_count;
};

#define OPTIONS_INIT                                                                               \
    {                                                                                              \
        .buffered = OPTIONS_NOT_GIVEN, .sync = OPTIONS_NOT_GIVEN, .access = OPTIONS_NOT_GIVEN,     \
        .ping_count = {.value = 10}, .interval_ms = {.value = 100},                                \
    }

#define OPTIONS_WAIT_FOREVER UINT64_MAX

struct options_error {
    char message[OPTIONS_MESSAGE_MAX];
};

/*
 * Parses argv[1] to argv[argc - 1], options and operands in any order, into *options (which keeps
 * what was parsed before). Takes the options of `groups` only. `-1G` and the like are operands.
 * Returns 0, or -EINVAL with the reason in *ret_error.
 */
int options_parse(struct options *options, unsigned int groups, int argc, char **argv,
                  struct options_error *ret_error);

/* Parses leading options up to the first operand and sets *ret_next to its index in argv (argc if
 * there is none). Else as options_parse. */
int options_parse_leading(struct options *options, unsigned int groups, int argc, char **argv,
                          int *ret_next, struct options_error *ret_error);

/* Overrides the members of *config that options were given for. */
void options_apply(const struct options *options, struct blkd_config *config);

/* Lines that explain the options of `groups`. */
void options_print(unsigned int groups, FILE *out);

struct options_range {
    uint64_t offset_bytes;
    uint64_t length_bytes;
};

/*
 * The byte range that --sector, --offset, --count and --length name on a device of this size: from
 * 0 and up to the device's end where they don't say. Ranges that go past the end are passed on for
 * the daemon to refuse; an offset behind the end gives length 0 if no length was asked for. Returns
 * 0, or -EINVAL with the reason in *ret_error.
 */
int options_resolve_range(const struct options *options, uint32_t sector_size, uint64_t size_bytes,
                          struct options_range *ret_range, struct options_error *ret_error);

#endif
