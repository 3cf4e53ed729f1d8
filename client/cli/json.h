/* SPDX-License-Identifier: MIT */
/*
 * JSON other than tables, written in one line as it is produced (RFC 8259). Members of an object
 * have a key; elements of an array and the outermost value have NULL. Errors of `out` stay in it.
 */
#ifndef BLKD_CLI_JSON_H
#define BLKD_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    bool comma; /* the next item needs one before it */
};

#define JSON_INIT(out_)                                                                            \
    {                                                                                              \
        .out = (out_)                                                                              \
    }

/* `bracket` is '{' or '['. */
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);

/* Bytes that are not UTF-8 become \xNN, as in tables; NULL is null. */
void json_text(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, uint64_t number);
void json_bool(struct json *json, const char *key, bool value);

#endif
