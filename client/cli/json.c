/* SPDX-License-Identifier: MIT */
#include "client/cli/json.h"

#include <inttypes.h>

#include "client/cli/text.h"
#include "common/cleanup.h"

static void json_string(struct json *json, const char *text)
{
    (void)fputc('"', json->out);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\')
            (void)fprintf(json->out, "\\%c", byte);
        else if (byte < 0x20)
            (void)fprintf(json->out, "\\u%04x", byte);
        else
            (void)fputc(byte, json->out);
    }
    (void)fputc('"', json->out);
}

static void json_key(struct json *json, const char *key)
{
    if (json->comma)
        (void)fputs(", ", json->out);
    json->comma = true;
    if (!key)
        return;
    json_string(json, key);
    (void)fputs(": ", json->out);
}

void json_open(struct json *json, const char *key, char bracket)
{
    json_key(json, key);
    (void)fputc(bracket, json->out);
    json->comma = false;
}

void json_close(struct json *json, char bracket)
{
    (void)fputc(bracket, json->out);
    json->comma = true;
}

void json_text(struct json *json, const char *key, const char *text)
{
    CLEANUP_FREE char *escaped = text ? text_escape(text, TEXT_JSON) : NULL;

    json_key(json, key);
    if (escaped)
        json_string(json, escaped);
    else
        (void)fputs("null", json->out);
}

void json_number(struct json *json, const char *key, uint64_t number)
{
    json_key(json, key);
    (void)fprintf(json->out, "%" PRIu64, number);
}

void json_bool(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    (void)fputs(value ? "true" : "false", json->out);
}
