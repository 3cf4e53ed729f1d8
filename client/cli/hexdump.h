/* SPDX-License-Identifier: MIT */
/*
 * A hexadecimal dump, in the form that `hexdump -C` has made familiar: 16 bytes a line, a run of
 * equal lines as one `*`, at the end the address after the last byte. Bytes may come in pieces of
 * any length.
 */
#ifndef BLKD_CLI_HEXDUMP_H
#define BLKD_CLI_HEXDUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    HEXDUMP_LINE_BYTES = 16,
};

struct hexdump {
    FILE *out;
    int address_digits;
    uint64_t address; /* of the line that is being filled */
    size_t filled;
    uint8_t line[HEXDUMP_LINE_BYTES];
    uint8_t previous[HEXDUMP_LINE_BYTES]; /* what was printed last, if has_previous */
    bool has_previous;
    bool squeezing; /* a `*` stands for the lines since then */
};

/* Dumps to `out`, from address `start` on. `end` is the highest address that can come: with it, all
 * addresses get the same number of digits. */
void hexdump_init(struct hexdump *dump, FILE *out, uint64_t start, uint64_t end);

/* Returns 0 or the negative errno of the output. */
int hexdump_feed(struct hexdump *dump, const uint8_t *bytes, size_t length_bytes);

/* Prints the incomplete last line and the end address; nothing if there were no bytes. Returns 0 or
 * the negative errno of the output. */
int hexdump_finish(struct hexdump *dump);

#endif
