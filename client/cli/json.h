/* SPDX-License-Identifier: MIT */
/*
 * JSON that is no table: one line, written as it comes (RFC 8259). Members have a key; elements of
 * an array, and what is outermost, have NULL. Errors of `out` stay in it.
 */
#ifndef BLKD_CLI_JSON_H
#define BLKD_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    bool comma; /* something stands before what comes next */
};

#define JSON_INIT(out_)                                                                            \
    {                                                                                              \
        .out = (out_)                                                                              \
    }

/* `bracket` is '{' or '['. */
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);

/* Bytes that are no UTF-8 become \xNN, as in tables; NULL is null. */
void json_text(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, uint64_t number);
void json_bool(struct json *json, const char *key, bool value);

#endif
