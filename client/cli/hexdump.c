/* SPDX-License-Identifier: MIT */
#include "client/cli/hexdump.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    HEXDUMP_DIGITS_MIN = 8,
    HEXDUMP_LINE_TEXT_MAX = 112, /* 16 digits, 16 times " xx", the bytes as characters, frame */
};

void hexdump_init(struct hexdump *dump, FILE *out, uint64_t start, uint64_t end)
{
    *dump = (struct hexdump){.out = out, .address_digits = HEXDUMP_DIGITS_MIN, .address = start};
    while (dump->address_digits < 16 && end >> (4 * dump->address_digits) != 0)
        dump->address_digits++;
}

static int hexdump_put(const struct hexdump *dump, const char *text)
{
    return fputs(text, dump->out) < 0 ? -errno : 0;
}

/* Prints the line that is in `dump->line`. */
static int hexdump_print_line(const struct hexdump *dump)
{
    static const char digits[] = "0123456789abcdef";
    char text[HEXDUMP_LINE_TEXT_MAX];
    char *to = text + sprintf(text, "%0*" PRIx64 " ", dump->address_digits, dump->address);

    for (size_t i = 0; i < HEXDUMP_LINE_BYTES; i++) {
        bool there = i < dump->filled;

        *to++ = ' ';
        *to++ = (char)(there ? digits[dump->line[i] >> 4] : ' ');
        *to++ = (char)(there ? digits[dump->line[i] & 0xf] : ' ');
        if (i == HEXDUMP_LINE_BYTES / 2 - 1)
            *to++ = ' ';
    }
    to = stpcpy(to, "  |");
    for (size_t i = 0; i < dump->filled; i++)
        *to++ = (char)(dump->line[i] >= 0x20 && dump->line[i] < 0x7f ? dump->line[i] : '.');
    (void)stpcpy(to, "|\n");
    return hexdump_put(dump, text);
}

static int hexdump_end_line(struct hexdump *dump)
{
    bool same = dump->has_previous && dump->filled == HEXDUMP_LINE_BYTES &&
                memcmp(dump->line, dump->previous, HEXDUMP_LINE_BYTES) == 0;
    int error = 0;

    if (!same)
        error = hexdump_print_line(dump);
    else if (!dump->squeezing)
        error = hexdump_put(dump, "*\n");
    dump->squeezing = same;
    dump->has_previous = true;
    memcpy(dump->previous, dump->line, HEXDUMP_LINE_BYTES);
    dump->address += dump->filled;
    dump->filled = 0;
    return error;
}

int hexdump_feed(struct hexdump *dump, const uint8_t *bytes, size_t length_bytes)
{
    while (length_bytes > 0) {
        size_t room = HEXDUMP_LINE_BYTES - dump->filled;
        size_t take = length_bytes < room ? length_bytes : room;

        memcpy(dump->line + dump->filled, bytes, take);
        dump->filled += take;
        bytes += take;
        length_bytes -= take;
        if (dump->filled == HEXDUMP_LINE_BYTES) {
            int error = hexdump_end_line(dump);

            if (error)
                return error;
        }
    }
    return 0;
}

int hexdump_finish(struct hexdump *dump)
{
    if (dump->filled > 0) {
        int error = hexdump_end_line(dump);

        if (error)
            return error;
    }
    if (!dump->has_previous)
        return 0;
    return fprintf(dump->out, "%0*" PRIx64 "\n", dump->address_digits, dump->address) < 0 ? -errno
                                                                                          : 0;
}
