/* SPDX-License-Identifier: MIT */
#include "client/cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/nearest.h"
#include "client/cli/size.h"

enum options_kind {
    KIND_FLAG,    /* bool */
    KIND_SET,     /* int: `value` */
    KIND_SYNC,    /* int: an enum blkd_sync */
    KIND_TEXT,    /* const char * */
    KIND_NUMBER,  /* struct options_number, with the units of size.h */
    KIND_SECONDS, /* struct options_number in milliseconds */
    KIND_WAIT,    /* the same; without an argument, no limit */
    KIND_SECTORS, /* struct options_sectors */
};

struct options_spec {
    const char *name;
    char letter; /* 0: none */
    enum options_kind kind;
    int value; /* KIND_SET; of KIND_NUMBER the largest, 0 if there is no bound */
    unsigned int groups;
    size_t member;        /* its offset in struct options */
    const char *argument; /* optional if it begins with '[' */
    const char *help;
};

#define MEMBER(name) offsetof(struct options, name)

static const struct options_spec OPTIONS_SPECS[] = {
    {"sector", 0, KIND_NUMBER, 0, OPTIONS_RANGE, MEMBER(sector), "N", "start at this sector"},
    {"offset", 0, KIND_NUMBER, 0, OPTIONS_RANGE, MEMBER(offset_bytes), "BYTES",
     "start at this byte"},
    {"count", 0, KIND_NUMBER, 0, OPTIONS_RANGE, MEMBER(count_sectors), "SECTORS",
     "number of sectors"},
    {"length", 0, KIND_NUMBER, 0, OPTIONS_RANGE, MEMBER(length_bytes), "BYTES", "number of bytes"},
    {"all", 0, KIND_FLAG, 0, OPTIONS_ALL, MEMBER(all), NULL, "the whole device"},
    {"fua", 0, KIND_FLAG, 0, OPTIONS_FUA, MEMBER(fua), NULL,
     "each request is on stable storage before it completes"},
    {"output", 'o', KIND_TEXT, 0, OPTIONS_READ, MEMBER(output_path), "FILE",
     "write to FILE instead of stdout"},
    {"hex", 0, KIND_FLAG, 0, OPTIONS_READ, MEMBER(hex), NULL,
     "print a hexadecimal dump (default on a terminal)"},
    {"raw", 0, KIND_FLAG, 0, OPTIONS_READ, MEMBER(raw), NULL,
     "print the bytes unchanged, even on a terminal"},
    {"raw-anyway", 0, KIND_FLAG, 0, OPTIONS_CHANGE, MEMBER(raw_anyway), NULL,
     "change the bytes of a qcow2, vmdk, ... image"},
    {"input", 'i', KIND_TEXT, 0, OPTIONS_WRITE, MEMBER(input_path), "FILE",
     "read from FILE instead of stdin"},
    {"flush", 0, KIND_FLAG, 0, OPTIONS_WRITE, MEMBER(flush), NULL,
     "flush the device after the last write"},
    {"pad", 0, KIND_FLAG, 0, OPTIONS_WRITE, MEMBER(pad), NULL, "fill the last sector with zeroes"},
    {"sectors", 0, KIND_FLAG, 0, OPTIONS_RESIZE, MEMBER(sectors), NULL, "SIZE is in sectors"},
    {"shrink", 0, KIND_FLAG, 0, OPTIONS_RESIZE, MEMBER(shrink), NULL,
     "allow a smaller size; data beyond it is lost"},
    {"total", 0, KIND_FLAG, 0, OPTIONS_MAP, MEMBER(total), NULL, "print only the totals"},
    {"parse", 0, KIND_TEXT, 0, OPTIONS_CONFIG, MEMBER(parse), "STRING",
     "explain this string; needs no daemon"},
    {"count", 0, KIND_NUMBER, 1000000, OPTIONS_PING, MEMBER(ping_count), "N",
     "number of round trips (default 10)"},
    {"interval", 0, KIND_SECONDS, 0, OPTIONS_PING, MEMBER(interval_ms), "SECONDS",
     "pause between round trips (default 0.1)"},
    {"shared", 0, KIND_FLAG, 0, OPTIONS_LOCK, MEMBER(shared), NULL,
     "take a shared lock (default: exclusive)"},
    {"range", 0, KIND_SECTORS, 0, OPTIONS_LOCK, MEMBER(range), "SECTOR:COUNT",
     "lock only these sectors (default: all)"},
    {"wait", 'w', KIND_WAIT, 0, OPTIONS_TAKE, MEMBER(wait_ms), "[=SECONDS]",
     "wait for the lock, at most SECONDS if given"},
    {"isolate", 0, KIND_FLAG, 0, OPTIONS_TAKE, MEMBER(isolate), NULL,
     "also keep others from reading"},
    {"kill-on-loss", 0, KIND_FLAG, 0, OPTIONS_TAKE, MEMBER(kill_on_loss), NULL,
     "send SIGTERM to the command if the lock is lost"},
    {"timeout", 0, KIND_SECONDS, 0, OPTIONS_WAIT, MEMBER(wait_ms), "SECONDS",
     "give up after this long (default: never)"},
    {"session", 0, KIND_NUMBER, 0, OPTIONS_BREAK, MEMBER(session), "N",
     "only the locks of this session"},
    {"wait", 'w', KIND_SECONDS, 0, OPTIONS_BREAK, MEMBER(wait_ms), "SECONDS",
     "maximum wait for I/O in flight (default 10)"},
    {"direct", 0, KIND_SET, false, OPTIONS_DEVICE, MEMBER(buffered), NULL,
     "bypass the page cache (O_DIRECT)"},
    {"buffered", 0, KIND_SET, true, OPTIONS_DEVICE, MEMBER(buffered), NULL,
     "use the page cache (default)"},
    {"sync", 0, KIND_SYNC, 0, OPTIONS_DEVICE, MEMBER(sync), "LEVEL",
     "what a flush does: none, os or drive"},
    {"lock", 0, KIND_FLAG, 0, OPTIONS_DEVICE, MEMBER(lock), NULL,
     "take a lock: exclusive, or shared if read-only"},
    {"strict", 0, KIND_FLAG, 0, OPTIONS_DEVICE, MEMBER(strict), NULL,
     "fail instead of opening with less than requested"},
    {"give-back", 0, KIND_FLAG, 0, OPTIONS_DEVICE, MEMBER(give_back), NULL,
     "release space on discard (see --strict)"},
    {"purpose", 0, KIND_TEXT, 0, OPTIONS_DEVICE, MEMBER(purpose), "TEXT",
     "label shown in lists and in others' lock errors"},
    {"read-only", 0, KIND_SET, BLKD_ACCESS_READ_ONLY, OPTIONS_DEVICE, MEMBER(access), NULL,
     "open read-only"},
    {"read-write", 0, KIND_SET, BLKD_ACCESS_READ_WRITE, OPTIONS_DEVICE, MEMBER(access), NULL,
     "open read/write; fail if that is not possible"},
    {"sector-size", 0, KIND_NUMBER, 65536, OPTIONS_DEVICE, MEMBER(sector_size), "BYTES",
     "address the device in sectors of this size"},
    {"json", 'j', KIND_FLAG, 0, OPTIONS_JSON, MEMBER(json), NULL, "print JSON"},
    {"socket", 0, KIND_TEXT, 0, OPTIONS_GLOBAL, MEMBER(socket_path), "PATH",
     "path of the daemon's socket"},
    {"help", 'h', KIND_FLAG, 0, OPTIONS_GLOBAL, MEMBER(help), NULL, "print this help"},
    {"version", 'V', KIND_FLAG, 0, OPTIONS_MAIN, MEMBER(version), NULL, "print the version"},
};

enum {
    SPEC_COUNT = sizeof(OPTIONS_SPECS) / sizeof(OPTIONS_SPECS[0]),
    /* getopt_long's results: from here on an index of OPTIONS_SPECS; below are characters */
    SPEC_BASE = 256,
    OPERAND = 1, /* what it returns for an operand when the option string starts with '-' */
};

__attribute__((format(printf, 2, 3))) static int options_refuse(struct options_error *ret_error,
                                                                const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(ret_error->message, sizeof(ret_error->message), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int options_set_number(const struct options_spec *spec, struct options_number *number,
                              const char *text, struct options_error *ret_error)
{
    int error = size_parse(text, &number->value);

    if (error == -ERANGE || (!error && spec->value > 0 && number->value > (uint64_t)spec->value))
        return options_refuse(ret_error, "--%s %s: number too large", spec->name, text);
    if (error)
        return options_refuse(ret_error, "--%s %s: not a number (examples: 4096, 0x1000, 4K, 1G)",
                              spec->name, text);
    number->given = true;
    return 0;
}

static int options_set_seconds(const struct options_spec *spec, struct options_number *number,
                               const char *text, struct options_error *ret_error)
{
    const double limit = 24 * 60 * 60;
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= limit))
        return options_refuse(ret_error, "--%s %s: expected a number of seconds from 0 to 86400",
                              spec->name, text);
    number->value = (uint64_t)(seconds * 1000 + 0.5);
    number->given = true;
    return 0;
}

static int options_set_wait(const struct options_spec *spec, struct options_number *number,
                            const char *text, struct options_error *ret_error)
{
    if (text)
        return options_set_seconds(spec, number, text, ret_error);
    *number = (struct options_number){true, OPTIONS_WAIT_FOREVER};
    return 0;
}

static int options_set_sectors(const struct options_spec *spec, struct options_sectors *sectors,
                               const char *text, struct options_error *ret_error)
{
    const char *colon = strchr(text, ':');
    char first[32];

    if (!colon || (size_t)(colon - text) >= sizeof(first))
        return options_refuse(ret_error, "--%s %s: expected SECTOR:COUNT, such as 2048:8",
                              spec->name, text);
    (void)snprintf(first, sizeof(first), "%.*s", (int)(colon - text), text);
    if (size_parse(first, &sectors->first) || size_parse(colon + 1, &sectors->count) ||
        sectors->count == 0)
        return options_refuse(ret_error, "--%s %s: expected SECTOR:COUNT, such as 2048:8",
                              spec->name, text);
    sectors->given = true;
    return 0;
}

static int options_set_sync(int *sync, const char *text, struct options_error *ret_error)
{
    static const char *const names[] = {
        [BLKD_SYNC_OS] = "os", [BLKD_SYNC_NONE] = "none", [BLKD_SYNC_DRIVE] = "drive"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *sync = i;
            return 0;
        }
    }
    return options_refuse(ret_error, "--sync %s: expected none, os or drive", text);
}

static int options_set(struct options *options, const struct options_spec *spec, const char *text,
                       struct options_error *ret_error)
{
    void *member = (char *)options + spec->member;

    switch (spec->kind) {
    case KIND_FLAG:
        *(bool *)member = true;
        return 0;
    case KIND_SET:
        *(int *)member = spec->value;
        return 0;
    case KIND_TEXT:
        *(const char **)member = text;
        return 0;
    case KIND_SYNC:
        return options_set_sync(member, text, ret_error);
    case KIND_NUMBER:
        return options_set_number(spec, member, text, ret_error);
    case KIND_SECONDS:
        return options_set_seconds(spec, member, text, ret_error);
    case KIND_WAIT:
        return options_set_wait(spec, member, text, ret_error);
    case KIND_SECTORS:
        return options_set_sectors(spec, member, text, ret_error);
    }
    return -EINVAL;
}

/* The options of `groups` in the form that getopt_long takes. */
struct options_getopt {
    struct option longs[SPEC_COUNT + 1];
    char shorts[3 * SPEC_COUNT + 3];
};

static int options_has_argument(const struct options_spec *spec)
{
    if (!spec->argument)
        return no_argument;
    return spec->argument[0] == '[' ? optional_argument : required_argument;
}

static void options_prepare(struct options_getopt *getopt_options, unsigned int groups)
{
    struct option *next = getopt_options->longs;
    char *letter = getopt_options->shorts;

    *letter++ = '-'; /* operands are returned in their order, not moved to the end */
    *letter++ = ':'; /* no messages on stderr; ':' for a missing argument */
    for (int i = 0; i < SPEC_COUNT; i++) {
        const struct options_spec *spec = &OPTIONS_SPECS[i];

        if (!(spec->groups & groups))
            continue;
        *next++ = (struct option){spec->name, options_has_argument(spec), NULL, SPEC_BASE + i};
        if (spec->letter) {
            *letter++ = spec->letter;
            for (int colons = options_has_argument(spec); colons > 0; colons--)
                *letter++ = ':';
        }
    }
    *next = (struct option){0};
    *letter = '\0';
}

/* A letter can stand for different options in different groups. */
static const struct options_spec *options_find(int result, unsigned int groups)
{
    if (result >= SPEC_BASE)
        return &OPTIONS_SPECS[result - SPEC_BASE];
    for (size_t i = 0; i < SPEC_COUNT; i++)
        if (OPTIONS_SPECS[i].letter == result && (OPTIONS_SPECS[i].groups & groups))
            return &OPTIONS_SPECS[i];
    return NULL;
}

static int options_add_operand(struct options *options, const char *text,
                               struct options_error *ret_error)
{
    if (options->operand_count == OPTIONS_OPERANDS_MAX)
        return options_refuse(ret_error, "unexpected argument '%s'", text);
    options->operands[options->operand_count++] = text;
    return 0;
}

/* getopt_long does not tell an unknown name from a prefix of several. */
static int options_refuse_name(unsigned int groups, const char *text,
                               struct options_error *ret_error)
{
    const char *name = text + strspn(text, "-");
    size_t length = strcspn(name, "=");
    struct nearest nearest;

    nearest_init(&nearest, name, length);
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        if (!(OPTIONS_SPECS[i].groups & groups))
            continue;
        if (length > 0 && strncmp(OPTIONS_SPECS[i].name, name, length) == 0)
            return options_refuse(ret_error, "option '%s' is ambiguous", text);
        nearest_offer(&nearest, OPTIONS_SPECS[i].name);
    }
    if (nearest.best)
        return options_refuse(ret_error, "unknown option '%s'; did you mean '--%s'?", text,
                              nearest.best);
    return options_refuse(ret_error, "unknown option '%s'", text);
}

/* One result of getopt_long. */
static int options_take(struct options *options, unsigned int groups, int result, char **argv,
                        struct options_error *ret_error)
{
    const char *text = argv[optind - 1];
    const struct options_spec *spec;

    if (result == OPERAND)
        return options_add_operand(options, optarg, ret_error);
    if (result == ':')
        return options_refuse(ret_error, "option '%s' needs an argument", text);
    if (result == '?' && optopt >= SPEC_BASE)
        return options_refuse(ret_error, "option '%s' takes no argument", text);
    if (result == '?' && optopt != 0)
        return options_refuse(ret_error, "unknown option '-%c'", optopt);
    spec = options_find(result, groups);
    if (!spec)
        return options_refuse_name(groups, text, ret_error);
    return options_set(options, spec, optarg, ret_error);
}

/* "-1G" is a change of size, not an option. */
static bool options_is_number(const char *text)
{
    return text[0] == '-' && isdigit((unsigned char)text[1]);
}

/* Handles argv[optind] and what follows, up to "--", or up to the first operand if `leading`. */
static int options_walk(struct options *options, unsigned int groups, int argc, char **argv,
                        bool leading, struct options_error *ret_error)
{
    struct options_getopt getopt_options = {0};
    int error = 0;

    options_prepare(&getopt_options, groups);
    opterr = 0;
    optind = 0; /* glibc: forget the walk before; a walk over nothing sets it to 1 */
    (void)getopt_long(1, argv, getopt_options.shorts, getopt_options.longs, NULL);
    while (!error) {
        int result;

        if (optind < argc && leading && argv[optind][0] != '-')
            break;
        if (optind < argc && options_is_number(argv[optind])) {
            error = options_add_operand(options, argv[optind++], ret_error);
            continue;
        }
        result = getopt_long(argc, argv, getopt_options.shorts, getopt_options.longs, NULL);
        if (result == -1)
            break;
        error = options_take(options, groups, result, argv, ret_error);
    }
    return error;
}

int options_parse(struct options *options, unsigned int groups, int argc, char **argv,
                  struct options_error *ret_error)
{
    int error = options_walk(options, groups, argc, argv, false, ret_error);

    if (!error && (groups & OPTIONS_REST)) {
        options->rest = argv + optind;
        options->rest_count = (size_t)(argc - optind);
        return 0;
    }
    while (!error && optind < argc) /* after "--" */
        error = options_add_operand(options, argv[optind++], ret_error);
    return error;
}

int options_parse_leading(struct options *options, unsigned int groups, int argc, char **argv,
                          int *ret_next, struct options_error *ret_error)
{
    int error = options_walk(options, groups, argc, argv, true, ret_error);

    if (!error)
        *ret_next = optind;
    return error;
}

void options_apply(const struct options *options, struct blkd_config *config)
{
    if (options->buffered != OPTIONS_NOT_GIVEN)
        config->direct = options->buffered == 0;
    if (options->sync != OPTIONS_NOT_GIVEN)
        config->sync = (enum blkd_sync)options->sync;
    if (options->access != OPTIONS_NOT_GIVEN)
        config->access = (enum blkd_access)options->access;
    if (options->lock)
        config->lock = true;
    if (options->strict)
        config->strict = true;
    if (options->give_back)
        config->discard = true;
    if (options->purpose)
        config->purpose = options->purpose;
    if (options->sector_size.given)
        config->sector_size = (uint32_t)options->sector_size.value;
}

void options_print(unsigned int groups, FILE *out)
{
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        const struct options_spec *spec = &OPTIONS_SPECS[i];
        char name[32];

        if (!(spec->groups & groups))
            continue;
        (void)snprintf(name, sizeof(name), "--%s%s%s", spec->name,
                       options_has_argument(spec) == required_argument ? " " : "",
                       spec->argument ? spec->argument : "");
        (void)fprintf(out, "  %c%c%c %-20s %s\n", spec->letter ? '-' : ' ',
                      spec->letter ? spec->letter : ' ', spec->letter ? ',' : ' ', name,
                      spec->help);
    }
}

/* The number of bytes that one of two options gives: in sectors, or in bytes. */
static int options_bytes(const struct options_number *sectors, const struct options_number *bytes,
                         uint32_t sector_size, uint64_t otherwise, uint64_t *ret_bytes,
                         struct options_error *ret_error)
{
    if (sectors->given && __builtin_mul_overflow(sectors->value, sector_size, ret_bytes))
        return options_refuse(ret_error,
                              "%" PRIu64 " sectors of %" PRIu32 " bytes do not fit in 64 bits",
                              sectors->value, sector_size);
    if (bytes->given)
        *ret_bytes = bytes->value;
    else if (!sectors->given)
        *ret_bytes = otherwise;
    return 0;
}

int options_resolve_range(const struct options *options, uint32_t sector_size, uint64_t size_bytes,
                          struct options_range *ret_range, struct options_error *ret_error)
{
    struct options_range range = {0};
    uint64_t rest;
    int error;

    if (options->sector.given && options->offset_bytes.given)
        return options_refuse(ret_error, "--sector and --offset cannot be used together");
    if (options->count_sectors.given && options->length_bytes.given)
        return options_refuse(ret_error, "--count and --length cannot be used together");
    error = options_bytes(&options->sector, &options->offset_bytes, sector_size, 0,
                          &range.offset_bytes, ret_error);
    if (error)
        return error;
    rest = range.offset_bytes < size_bytes ? size_bytes - range.offset_bytes : 0;
    error = options_bytes(&options->count_sectors, &options->length_bytes, sector_size, rest,
                          &range.length_bytes, ret_error);
    if (error)
        return error;
    if (range.length_bytes > UINT64_MAX - range.offset_bytes)
        return options_refuse(ret_error,
                              "offset %" PRIu64 " plus length %" PRIu64 " does not fit in 64 bits",
                              range.offset_bytes, range.length_bytes);
    *ret_range = range;
    return 0;
}
