/* SPDX-License-Identifier: MIT */
#include "client/cli/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_ESCAPE_BYTES = 4, /* \xNN */
};

/* The bytes and the value of the UTF-8 sequence at `text`; 0 if it is none (RFC 3629: no overlong
 * forms, no surrogates, at most U+10FFFF). */
static size_t text_decode(const unsigned char *text, uint32_t *ret_character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = text[0] < 0x80   ? 1
                    : text[0] < 0xc0 ? 0
                    : text[0] < 0xe0 ? 2
                    : text[0] < 0xf0 ? 3
                    : text[0] < 0xf8 ? 4
                                     : 0;
    uint32_t character = length == 1 ? text[0] : text[0] & (0x7fU >> length);

    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (text[i] & 0x3f);
    }
    if (length == 0 || character < smallest[length] || character > 0x10ffff ||
        (character >= 0xd800 && character <= 0xdfff))
        return 0;
    *ret_character = character;
    return length;
}

/* U+0080 to U+009F are control characters too: some terminals obey them. */
static bool text_is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

char *text_escape(const char *text, enum text_rule rule)
{
    const unsigned char *from = (const unsigned char *)text;
    char *copy = malloc(strlen(text) * TEXT_ESCAPE_BYTES + 1);
    char *to = copy;

    if (!copy)
        return NULL;
    while (*from) {
        uint32_t character = 0;
        size_t length = text_decode(from, &character);
        bool escape = length == 0 || (rule == TEXT_TERMINAL && text_is_control(character)) ||
                      (from[0] == '\\' && from[1] == 'x');
        size_t bytes = length == 0 ? 1 : length;

        for (size_t i = 0; i < bytes; i++, from++) {
            if (escape)
                to += sprintf(to, "\\x%02x", *from);
            else
                *to++ = (char)*from;
        }
    }
    *to = '\0';
    return copy;
}
