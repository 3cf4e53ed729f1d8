/* SPDX-License-Identifier: MIT */
/*
 * The string is taken apart in three steps: scheme, path up to the first `?`, then `key=value`
 * pairs by a table. What is not understood is refused and named, never skipped: a misspelt `lock`
 * that goes unnoticed costs somebody's data.
 *
 * mirage-block-unix writes `file:/path` and `file:C:%5Ccygwin`, and takes what stands between
 * `file://` and the next slash for a host. A host other than `localhost` is refused, because
 * whoever wrote `file://dir/disk.img` meant neither a host nor /disk.img.
 */
#include "common/config_uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/range.h"

#define SCHEME_FILE "file:"
#define SCHEME_BUFFERED "buffered:"
#define LOCALHOST "localhost"

enum {
    QUOTE_MAX = 60,              /* of the offending text in a message */
    VALUE_MAX = PURPOSE_MAX + 1, /* the longest value, with a NUL */
};

/* A part of the text, not NUL-terminated. */
struct piece {
    const char *text;
    size_t length;
};

/* ---- errors ---- */

__attribute__((format(printf, 3, 4))) static int refuse(struct config_uri_error *error, int code,
                                                        const char *format, ...)
{
    va_list arguments;

    if (!error)
        return code;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
    for (char *c = error->message; *c; c++) {
        if (iscntrl((unsigned char)*c))
            *c = '?'; /* it goes to terminals and logs */
    }
    return code;
}

/* For "%.*s" */
static int quote_length(struct piece piece)
{
    return piece.length < QUOTE_MAX ? (int)piece.length : QUOTE_MAX;
}

/* ---- percent-encoding ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes into `buffer` with a NUL behind it. -ENAMETOOLONG if it does not fit. */
static int decode(struct piece piece, char *buffer, size_t size, struct config_uri_error *error)
{
    size_t used = 0;

    for (size_t i = 0; i < piece.length; i++) {
        char byte = piece.text[i];
        if (byte == '%') {
            const int high = i + 1 < piece.length ? hex_digit(piece.text[i + 1]) : -1;
            const int low = i + 2 < piece.length ? hex_digit(piece.text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return refuse(error, -EINVAL, "'%%' at \"%.*s\" is not followed by two hex digits",
                              quote_length((struct piece){piece.text + i, piece.length - i}),
                              piece.text + i);
            byte = (char)(high * 16 + low);
            if (byte == '\0')
                return refuse(error, -EINVAL, "\"%.*s\" contains %%00, an encoded NUL byte",
                              quote_length(piece), piece.text);
            i += 2;
        }
        if (used + 1 >= size)
            return refuse(error, -ENAMETOOLONG, "\"%.*s...\" is longer than %zu bytes",
                          quote_length(piece), piece.text, size - 1);
        buffer[used++] = byte;
    }
    buffer[used] = '\0';
    return 0;
}

/* What paths and texts are written with; everything else is percent-encoded. */
static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~/:@+,=", c));
}

/* ---- keys ---- */

static int parse_bool(const char *value, bool *ret_value)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return -EINVAL;
    *ret_value = value[0] == '1';
    return 0;
}

static int set_buffered(struct config_uri *config, const char *value)
{
    return parse_bool(value, &config->buffered);
}

static int set_lock(struct config_uri *config, const char *value)
{
    return parse_bool(value, &config->lock);
}

static int set_sync(struct config_uri *config, const char *value)
{
    static const struct {
        const char *name;
        enum config_sync sync;
    } names[] = {
        {"os", CONFIG_SYNC_OS},  {"none", CONFIG_SYNC_NONE}, {"drive", CONFIG_SYNC_DRIVE},
        {"0", CONFIG_SYNC_NONE}, {"1", CONFIG_SYNC_DRIVE},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i].name) == 0) {
            config->sync = names[i].sync;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_sector_size(struct config_uri *config, const char *value)
{
    uint32_t number = 0;

    if (!*value)
        return -EINVAL;
    for (const char *c = value; *c; c++) {
        if (*c < '0' || *c > '9' || number > SECTOR_SIZE_MAX)
            return -EINVAL;
        number = number * 10 + (uint32_t)(*c - '0');
    }
    if (number != 0 && !range_is_sector_size(number))
        return -EINVAL;
    config->sector_size = number;
    return 0;
}

static int set_strict(struct config_uri *config, const char *value)
{
    return parse_bool(value, &config->strict);
}

static int set_discard(struct config_uri *config, const char *value)
{
    return parse_bool(value, &config->discard);
}

static int set_purpose(struct config_uri *config, const char *value)
{
    strcpy(config->purpose, value); /* of at most VALUE_MAX bytes with its NUL */
    return 0;
}

static const char *const access_names[] = {
    [CONFIG_ACCESS_AUTO] = "auto",
    [CONFIG_ACCESS_READ_ONLY] = "ro",
    [CONFIG_ACCESS_READ_WRITE] = "rw",
};

static int set_mode(struct config_uri *config, const char *value)
{
    for (unsigned int i = 0; i < sizeof(access_names) / sizeof(access_names[0]); i++) {
        if (strcmp(value, access_names[i]) == 0) {
            config->access = (enum config_access)i;
            return 0;
        }
    }
    return -EINVAL;
}

static const struct key {
    const char *name;
    const char *values; /* for a person */
    int (*set)(struct config_uri *config, const char *value);
} keys[] = {
    {"sync", "none, os or drive", set_sync},
    {"buffered", "0 or 1", set_buffered},
    {"lock", "0 or 1", set_lock},
    {"prefered_sector_size", "0 or a power of two from 512 to 65536", set_sector_size},
    {"mode", "auto, ro or rw", set_mode},
    {"strict", "0 or 1", set_strict},
    {"discard", "0 or 1", set_discard},
    {"purpose", "at most 64 bytes", set_purpose},
};

enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

/* The index in `keys`, or a negative errno. */
static int find_key(struct piece name, struct config_uri_error *error)
{
    char decoded[VALUE_MAX];
    int r;

    r = decode(name, decoded, sizeof(decoded), error);
    if (r == -EINVAL)
        return r;
    for (int i = 0; r == 0 && i < KEYS; i++) {
        if (strcmp(decoded, keys[i].name) == 0)
            return i;
    }
    return refuse(error, -EINVAL,
                  "key \"%.*s\" is not known (sync, buffered, lock, prefered_sector_size, mode, "
                  "strict, discard, purpose)",
                  quote_length(name), name.text);
}

static int set_key(struct config_uri *config, const struct key *key, struct piece value,
                   struct config_uri_error *error)
{
    char decoded[VALUE_MAX];
    int r;

    r = decode(value, decoded, sizeof(decoded), error);
    if (r == -EINVAL)
        return r;
    if (r < 0 || key->set(config, decoded) < 0)
        return refuse(error, -EINVAL, "%s cannot be \"%.*s\": it is %s", key->name,
                      quote_length(value), value.text, key->values);
    return 0;
}

/* One `key=value`; `*given` has a bit for each key that was there before. */
static int parse_pair(struct config_uri *config, struct piece pair, unsigned int *given,
                      struct config_uri_error *error)
{
    const char *equals = memchr(pair.text, '=', pair.length);
    int index;

    if (!equals)
        return refuse(error, -EINVAL, "\"%.*s\" is not of the form key=value", quote_length(pair),
                      pair.text);
    const struct piece name = {pair.text, (size_t)(equals - pair.text)};
    const struct piece value = {equals + 1, pair.length - name.length - 1};

    index = find_key(name, error);
    if (index < 0)
        return index;
    if (*given & 1U << index)
        return refuse(error, -EINVAL, "key \"%s\" is given twice", keys[index].name);
    *given |= 1U << index;
    return set_key(config, &keys[index], value, error);
}

static int parse_query(struct config_uri *config, const char *query, struct config_uri_error *error)
{
    unsigned int given = 0;
    int r;

    while (*query) {
        const struct piece pair = {query, strcspn(query, "&")};
        if (pair.length > 0) {
            r = parse_pair(config, pair, &given, error);
            if (r < 0)
                return r;
        }
        query += pair.length;
        query += *query == '&';
    }
    return 0;
}

/* ---- the whole ---- */

static bool skip_prefix(const char **text, const char *prefix)
{
    const size_t length = strlen(prefix);

    if (strncmp(*text, prefix, length) != 0)
        return false;
    *text += length;
    return true;
}

/* The same for a scheme, whose case means nothing (RFC 3986, 3.1), in any locale. */
static bool skip_scheme(const char **text, const char *scheme)
{
    const size_t length = strlen(scheme);

    for (size_t i = 0; i < length; i++) {
        char c = (*text)[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != scheme[i])
            return false;
    }
    *text += length;
    return true;
}

/* Moves *path behind `//` and the host, if there are any. */
static int skip_host(const char **path, struct config_uri_error *error)
{
    if (!skip_prefix(path, "//"))
        return 0;
    const struct piece host = {*path, strcspn(*path, "/?#")};

    if (host.length != 0 &&
        (host.length != strlen(LOCALHOST) || memcmp(host.text, LOCALHOST, host.length) != 0))
        return refuse(error, -EINVAL,
                      "\"//%.*s\" names a host: write file:///PATH for an absolute path, file:PATH "
                      "for a relative one",
                      quote_length(host), host.text);
    *path += host.length;
    return 0;
}

static int parse_file(struct config_uri *config, const char *text, struct config_uri_error *error)
{
    int r;

    if (strchr(text, '#'))
        return refuse(error, -EINVAL, "\"%.*s\": a '#' in a path is written %%23",
                      quote_length((struct piece){strchr(text, '#'), strlen(strchr(text, '#'))}),
                      strchr(text, '#'));
    r = skip_host(&text, error);
    if (r < 0)
        return r;
    const struct piece path = {text, strcspn(text, "?")};
    const char *query = text + path.length + (text[path.length] == '?');

    r = decode(path, config->path, sizeof(config->path), error);
    if (r < 0)
        return r;
    return parse_query(config, query, error);
}

void config_uri_init(struct config_uri *config)
{
    *config = (struct config_uri){.buffered = true, .sync = CONFIG_SYNC_OS};
}

bool config_uri_has_scheme(const char *text)
{
    return skip_scheme(&text, SCHEME_FILE) || skip_prefix(&text, SCHEME_BUFFERED);
}

int config_uri_parse(const char *text, struct config_uri *ret_config,
                     struct config_uri_error *ret_error)
{
    struct config_uri config;
    const size_t length = strlen(text);
    int r = 0;

    config_uri_init(&config);
    if (skip_scheme(&text, SCHEME_FILE))
        r = parse_file(&config, text, ret_error);
    else if (!skip_prefix(&text, SCHEME_BUFFERED))
        r = refuse(ret_error, -EINVAL, "\"%.*s\" does not start with file: or buffered:",
                   quote_length((struct piece){text, length}), text);
    else if (strlen(text) >= sizeof(config.path))
        r = refuse(ret_error, -ENAMETOOLONG, "\"%.*s...\" is longer than %zu bytes", QUOTE_MAX,
                   text, sizeof(config.path) - 1);
    else
        strcpy(config.path, text); /* the old prefix came without any encoding */
    if (r < 0)
        return r;
    if (!config.path[0])
        return refuse(ret_error, -EINVAL, "the path is empty");
    *ret_config = config;
    return 0;
}

/* ---- formatting ---- */

struct writer {
    char *buffer;
    size_t size;
    size_t length; /* also of what did not fit */
};

static void put_char(struct writer *writer, char c)
{
    if (writer->length + 1 < writer->size)
        writer->buffer[writer->length] = c;
    writer->length++;
}

static void put_text(struct writer *writer, const char *text)
{
    while (*text)
        put_char(writer, *text++);
}

static void put_encoded(struct writer *writer, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (is_plain(*text)) {
            put_char(writer, *text);
        } else {
            put_char(writer, '%');
            put_char(writer, digits[byte >> 4]);
            put_char(writer, digits[byte & 15]);
        }
    }
}

static const char *sync_name(enum config_sync sync)
{
    switch (sync) {
    case CONFIG_SYNC_NONE:
        return "none";
    case CONFIG_SYNC_DRIVE:
        return "drive";
    case CONFIG_SYNC_OS:
        break;
    }
    return "os";
}

size_t config_uri_format(const struct config_uri *config, char *buffer, size_t size)
{
    struct writer writer = {buffer, size, 0};
    char number[16];

    put_text(&writer, config->path[0] == '/' ? SCHEME_FILE "//" : SCHEME_FILE);
    put_encoded(&writer, config->path);
    put_text(&writer, "?sync=");
    put_text(&writer, sync_name(config->sync));
    put_text(&writer, config->buffered ? "&buffered=1" : "&buffered=0");
    put_text(&writer, config->lock ? "&lock=1" : "&lock=0");
    if (config->sector_size != 0) {
        (void)snprintf(number, sizeof(number), "%u", config->sector_size);
        put_text(&writer, "&prefered_sector_size=");
        put_text(&writer, number);
    }
    if (config->access != CONFIG_ACCESS_AUTO) {
        put_text(&writer, "&mode=");
        put_text(&writer, access_names[config->access]);
    }
    if (config->strict)
        put_text(&writer, "&strict=1");
    if (config->discard)
        put_text(&writer, "&discard=1");
    if (config->purpose[0] != '\0') {
        put_text(&writer, "&purpose=");
        put_encoded(&writer, config->purpose);
    }
    if (size > 0)
        buffer[writer.length < size ? writer.length : size - 1] = '\0';
    return writer.length;
}
