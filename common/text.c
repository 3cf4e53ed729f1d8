/* SPDX-License-Identifier: MIT */
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed sequence at `bytes`, or 0. A NUL ends every sequence too early. */
static size_t text_sequence(const uint8_t *bytes)
{
    static const struct {
        uint8_t mask, lead;
        uint32_t least; /* smaller code points have a shorter form */
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

    for (size_t more = 0; more < sizeof(forms) / sizeof(forms[0]); more++) {
        if ((bytes[0] & forms[more].mask) != forms[more].lead)
            continue;
        uint32_t point = bytes[0] & (uint8_t)~forms[more].mask;
        for (size_t i = 1; i <= more; i++) {
            if ((bytes[i] & 0xc0) != 0x80)
                return 0;
            point = point << 6 | (bytes[i] & 0x3f);
        }
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        return point < forms[more].least || point > 0x10ffff || surrogate ? 0 : more + 1;
    }
    return 0;
}

void text_make_utf8(char *text)
{
    uint8_t *bytes = (uint8_t *)text;
    while (*bytes != 0) {
        size_t length = text_sequence(bytes);
        if (length == 0 || *bytes < ' ' || *bytes == 0x7f) {
            *bytes = '?';
            length = 1;
        }
        bytes += length;
    }
}
