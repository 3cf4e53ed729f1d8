/* SPDX-License-Identifier: MIT */
#include "common/text.h"

#include <stdint.h>

/* The length of the well-formed sequence at `bytes` and its code point, or 0. A NUL ends every
 * sequence too early. */
static size_t text_sequence(const uint8_t *bytes, uint32_t *ret_point)
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
        *ret_point = point;
        return point < forms[more].least || point > 0x10ffff || surrogate ? 0 : more + 1;
    }
    return 0;
}

/* What drives a terminal, begins a line, or changes the order in which its neighbours are shown. */
static bool text_is_control(uint32_t point)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0x061c, 0x061c}, {0x200e, 0x200f},   {0x2028, 0x202e},
        {0x2066, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (point >= ranges[i].first && point <= ranges[i].last)
            return true;
    return false;
}

size_t text_next(const char *text, bool *ret_plain)
{
    uint32_t point = 0;
    size_t length = text_sequence((const uint8_t *)text, &point);

    *ret_plain = length > 0 && !text_is_control(point);
    return length > 0 ? length : 1;
}

void text_make_utf8(char *text)
{
    uint8_t *bytes = (uint8_t *)text;
    while (*bytes != 0) {
        uint32_t point = 0;
        size_t length = text_sequence(bytes, &point);
        if (length == 0 || *bytes < ' ' || *bytes == 0x7f) {
            *bytes = '?';
            length = 1;
        }
        bytes += length;
    }
}
