/* SPDX-License-Identifier: MIT */
/* The command line from one table, which is its help text too; see options.h. */
#include "tests/bench/options.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option_row {
    const char *name;
    const char *argument; /* NULL: a switch */
    int (*set)(struct bench_options *options, const char *text);
    const char *help;
};

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value < min || value > max)
        return -EINVAL;
    *ret_value = value;
    return 0;
}

static int parse_seconds(const char *text, double *ret_seconds)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0 || value > 86400)
        return -EINVAL;
    *ret_seconds = value;
    return 0;
}

static int set_target(struct bench_options *options, const char *text)
{
    static const struct target_type *const types[] = {&target_direct, &target_group, &target_uring,
                                                      &target_blkd, &target_nbd};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        size_t length = strlen(types[i]->scheme);
        if (strncmp(text, types[i]->scheme, length) == 0 && text[length] == ':') {
            options->target_text = text;
            options->target = types[i];
            options->address = text + length + 1;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_tier(struct bench_options *options, const char *text)
{
    if (strcmp(text, "socket") != 0 && strcmp(text, "ring") != 0 && strcmp(text, "auto") != 0)
        return -EINVAL;
    options->tier = text;
    return 0;
}

static int set_socket(struct bench_options *options, const char *text)
{
    options->socket = text;
    return 0;
}

static int set_workload(struct bench_options *options, const char *text)
{
    return workload_type_parse(text, &options->workload);
}

static int set_block(struct bench_options *options, const char *text)
{
    static const char suffixes[] = "kKmM";
    char digits[16];
    size_t length = strlen(text);
    if (length == 0 || length >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, text, length + 1);
    const char *suffix = strchr(suffixes, text[length - 1]);
    if (suffix)
        digits[length - 1] = '\0';
    unsigned int shift = !suffix ? 0 : suffix < suffixes + 2 ? 10 : 20;
    uint64_t value;
    int r = parse_number(digits, 1, (UINT64_C(64) << 20) >> shift, &value);
    if (r == 0)
        options->block_bytes = (uint32_t)(value << shift);
    return r;
}

static int set_depth(struct bench_options *options, const char *text)
{
    uint64_t value;
    int r = parse_number(text, 1, 4096, &value);
    if (r == 0)
        options->depth = (unsigned int)value;
    return r;
}

static int set_clients(struct bench_options *options, const char *text)
{
    uint64_t value;
    int r = parse_number(text, 1, 1024, &value);
    if (r == 0)
        options->clients = (unsigned int)value;
    return r;
}

static int set_idle(struct bench_options *options, const char *text)
{
    uint64_t value;
    int r = parse_number(text, 0, 100000, &value);
    if (r == 0)
        options->idle = (unsigned int)value;
    return r;
}

static int set_buffers(struct bench_options *options, const char *text)
{
    if (strcmp(text, "arena") == 0)
        options->buffers = BUFFERS_ARENA;
    else if (strcmp(text, "foreign") == 0)
        options->buffers = BUFFERS_FOREIGN;
    else
        return -EINVAL;
    return 0;
}

static int set_seconds(struct bench_options *options, const char *text)
{
    return parse_seconds(text, &options->seconds);
}

static int set_warmup(struct bench_options *options, const char *text)
{
    return parse_seconds(text, &options->warmup_seconds);
}

static int set_seed(struct bench_options *options, const char *text)
{
    return parse_number(text, 0, UINT64_MAX, &options->seed);
}

static int set_busy_poll(struct bench_options *options, const char *text)
{
    uint64_t value;
    int r = parse_number(text, 0, INT_MAX, &value);
    if (r == 0)
        options->busy_poll_us = (int)value;
    return r;
}

static int set_server_pid(struct bench_options *options, const char *text)
{
    uint64_t value;
    int r = parse_number(text, 1, INT_MAX, &value);
    if (r == 0)
        options->server_pid = (pid_t)value;
    return r;
}

#define SWITCH(member)                                                                             \
    static int set_##member(struct bench_options *options, const char *text)                       \
    {                                                                                              \
        (void)text;                                                                                \
        options->member = true;                                                                    \
        return 0;                                                                                  \
    }
SWITCH(processes)
SWITCH(idle_open)
SWITCH(o_direct)
SWITCH(verify)
SWITCH(json)
SWITCH(calibrate)
SWITCH(no_calibration)

static const struct option_row rows[] = {
    {"target", "TARGET", set_target,
     "direct:PATH, group:PATH, uring:PATH, blkd:PATH-OR-CONFIG or nbd:URI; for example\n"
     "blkd:file:///disk.img?sync=os and nbd:nbd+unix:///?socket=/run/nbd.sock"},
    {"rw", "WORKLOAD", set_workload,
     "randread (default), randwrite, read, write, flush, or writeflush\n"
     "(an operation is a write at random, then a flush)"},
    {"bs", "BYTES", set_block, "size of an operation, with suffix k or M (default 4k)"},
    {"depth", "N", set_depth, "operations that a client keeps in flight (default 1)"},
    {"clients", "N", set_clients, "each with a thread and a connection of its own (default 1)"},
    {"processes", NULL, set_processes, "clients are processes, not threads"},
    {"idle", "N", set_idle,
     "further connections, held by other processes, that do nothing meanwhile\n"
     "(default 0)"},
    {"idle-open", NULL, set_idle_open, "each of those has the device open"},
    {"seconds", "S", set_seconds, "length of the measurement (default 5)"},
    {"warmup", "S", set_warmup, "what is run before it, not measured (default 0.5)"},
    {"seed", "N", set_seed, "of the random offsets (default 1)"},
    {"o-direct", NULL, set_o_direct,
     "open with O_DIRECT (direct:, uring:; for blkd: it is in the configuration,\n"
     "buffered=0)"},
    {"tier", "TIER", set_tier,
     "how libblkd moves data: socket, ring or auto (the default, unless $BLKD_TIER\n"
     "says another); it is an error if it turns out to be the other one"},
    {"buffers", "MEMORY", set_buffers,
     "for blkd: arena, memory that the daemon shares, is the default for --tier=ring;\n"
     "foreign, the program's own, for the others"},
    {"socket", "PATH", set_socket, "blkd's socket (default: where libblkd looks)"},
    {"busy-poll-us", "N", set_busy_poll, "libblkd's polling; 0 turns it off"},
    {"server-pid", "PID", set_server_pid,
     "count this process' CPU time too, and with --idle its memory"},
    {"verify", NULL, set_verify,
     "OVERWRITES the device with a pattern, checks every read, and reads all back\n"
     "at the end; slow"},
    {"json", NULL, set_json, "print one JSON object"},
    {"calibrate", NULL, set_calibrate, "measure nothing but the machine itself"},
    {"no-calibration", NULL, set_no_calibration, "leave that out of the JSON object"},
    {"help", NULL, NULL, "print this"},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void print_help(void)
{
    puts("Usage: blkd-bench --target TARGET [OPTION]...\n"
         "Measures how fast a device is through one way of reaching it.\n");
    for (size_t i = 0; i < ROWS; i++) {
        const char *argument = rows[i].argument ? rows[i].argument : "";
        int width = printf("  --%s%s%s", rows[i].name, rows[i].argument ? "=" : "", argument);
        for (const char *line = rows[i].help; line; line = strchr(line, '\n')) {
            line += *line == '\n';
            printf("%*s%.*s\n", 24 - width, "", (int)strcspn(line, "\n"), line);
            width = 0;
        }
    }
    puts("\nExample: blkd-bench --target=direct:disk.img --rw=randread --depth=32\n"
         "Exit status: 0; 1 if an operation failed or data was wrong; 2 for a wrong option.");
}

static void fill_long_options(struct option *long_options)
{
    for (size_t i = 0; i < ROWS; i++)
        long_options[i] = (struct option){
            .name = rows[i].name,
            .has_arg = rows[i].argument ? required_argument : no_argument,
        };
    long_options[ROWS] = (struct option){0};
}

static void fill_defaults(struct bench_options *options)
{
    bool ring = options->tier && strcmp(options->tier, "ring") == 0;
    if (options->buffers == BUFFERS_DEFAULT)
        options->buffers = ring ? BUFFERS_ARENA : BUFFERS_FOREIGN;
}

static int check(const struct bench_options *options)
{
    if (!options->target && !options->calibrate)
        warnx("say what to measure with --target, or see --help");
    else if (options->idle_open && options->idle == 0)
        warnx("--idle-open is about the connections of --idle, and there are none");
    else if (options->seconds <= 0)
        warnx("--seconds has to be more than 0");
    else if (options->verify && options->block_bytes % 512 != 0)
        warnx("--verify needs a --bs of whole sectors of 512 bytes");
    else if (options->verify && options->workload == WORKLOAD_FLUSH)
        warnx("--verify has nothing to check with --rw=flush");
    else
        return 0;
    return -EINVAL;
}

int options_parse(int argc, char **argv, struct bench_options *ret_options)
{
    struct bench_options options = {
        .block_bytes = 4096,
        .depth = 1,
        .clients = 1,
        .seconds = 5,
        .warmup_seconds = 0.5,
        .seed = 1,
        .busy_poll_us = -1,
    };
    struct option long_options[ROWS + 1];
    fill_long_options(long_options);
    int index = 0;
    int c;
    while ((c = getopt_long(argc, argv, "", long_options, &index)) == 0) {
        if (!rows[index].set) {
            print_help();
            return OPTIONS_EXIT;
        }
        if (rows[index].set(&options, optarg) < 0) {
            warnx("--%s=%s is not valid. --%s=%s: %s", rows[index].name, optarg, rows[index].name,
                  rows[index].argument, rows[index].help);
            return -EINVAL;
        }
    }
    if (c != -1) /* getopt_long has said what is wrong */
        return -EINVAL;
    if (optind < argc) {
        warnx("%s: there are no arguments but options; see --help", argv[optind]);
        return -EINVAL;
    }
    fill_defaults(&options);
    int r = check(&options);
    if (r == 0)
        *ret_options = options;
    return r;
}
