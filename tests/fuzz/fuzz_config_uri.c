/* SPDX-License-Identifier: MIT */
/*
 * Any text is parsed or refused with a reason; what was parsed, and any path, survives formatting
 * and parsing.
 */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_uri.h"
#include "tests/fuzz/guarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum {
    TEXT_MAX = 3 * PATH_BYTES_MAX + 512, /* each byte of the path escaped, and the keys */
    INPUT_MAX = 64 * 1024,
};

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "fuzz_config_uri: %s\n", what);
    abort();
}

static bool is_same(const struct config_uri *a, const struct config_uri *b)
{
    return strcmp(a->path, b->path) == 0 && a->buffered == b->buffered && a->sync == b->sync &&
           a->lock == b->lock && a->sector_size == b->sector_size && a->access == b->access &&
           a->strict == b->strict && a->discard == b->discard &&
           strcmp(a->purpose, b->purpose) == 0;
}

static void check_round_trip(const struct config_uri *config)
{
    char text[TEXT_MAX], text_again[TEXT_MAX];
    struct config_uri again;

    const size_t length = config_uri_format(config, text, sizeof(text));
    require(length < sizeof(text) && length == strlen(text), "a wrong length");
    require(config_uri_has_scheme(text), "the text has no scheme");
    require(config_uri_parse(text, &again, NULL) == 0, "what was formatted is refused");
    require(is_same(config, &again), "a field is lost");
    require(config_uri_format(&again, text_again, sizeof(text_again)) == length, "not stable");
    require(strcmp(text, text_again) == 0, "the text formatted again differs");
}

static void check_refusal(int r, const struct config_uri_error *error)
{
    require(r == -EINVAL || r == -ENAMETOOLONG, "an error that is not documented");
    require(memchr(error->message, '\0', sizeof(error->message)) != NULL, "no end of message");
    require(error->message[0] != '\0', "no reason");
    for (const char *c = error->message; *c; c++)
        require(!iscntrl((unsigned char)*c), "a control character in the reason");
}

static void check_text(const char *text)
{
    struct config_uri config;
    struct config_uri_error error = {""};
    uint8_t before[sizeof(config)];

    memset(&config, 0x5a, sizeof(config));
    memset(before, 0x5a, sizeof(before));
    const int r = config_uri_parse(text, &config, &error);
    if (r == 0) {
        check_round_trip(&config);
    } else {
        check_refusal(r, &error);
        require(memcmp(before, (const uint8_t *)&config, sizeof(before)) == 0,
                "changed by a refused text");
    }
}

static void check_path(const char *path)
{
    struct config_uri config;

    if (path[0] == '\0' || strlen(path) >= sizeof(config.path))
        return;
    config_uri_init(&config);
    strcpy(config.path, path);
    check_round_trip(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct guarded guarded;

    if (!guarded.end)
        guarded = guarded_new(INPUT_MAX + 1);
    if (size > INPUT_MAX)
        return 0;
    char *text = malloc(size + 1);
    require(text != NULL, "no memory");
    if (size > 0)
        memcpy(text, bytes, size);
    text[size] = '\0';
    const size_t length = strlen(text);
    check_text((const char *)guarded_copy(&guarded, text, length + 1));
    check_path(text);
    free(text);
    return 0;
}
