/* SPDX-License-Identifier: MIT */
#include "client/cli/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

enum {
    TEXT_ESCAPE_BYTES = 4, /* \xNN */
};

/* JSON has escapes of its own for these. */
static bool text_is_for_json(unsigned char byte)
{
    return byte < 0x20;
}

char *text_escape(const char *text, enum text_rule rule)
{
    const char *from = text;
    char *copy = malloc(strlen(text) * TEXT_ESCAPE_BYTES + 1);
    char *to = copy;

    if (!copy)
        return NULL;
    while (*from) {
        bool plain;
        size_t bytes = text_next(from, &plain);

        if (rule == TEXT_JSON && text_is_for_json((unsigned char)from[0]))
            plain = true;
        if (from[0] == '\\' && from[1] == 'x')
            plain = false;
        for (; bytes > 0; bytes--, from++) {
            if (plain)
                *to++ = *from;
            else
                to += sprintf(to, "\\x%02x", (unsigned char)*from);
        }
    }
    *to = '\0';
    return copy;
}
