/* SPDX-License-Identifier: MIT */
/*
 * Sizes and counts as people write and read them. Pure.
 */
#ifndef BLKD_CLI_SIZE_H
#define BLKD_CLI_SIZE_H

#include <stddef.h>
#include <stdint.h>

enum {
    SIZE_TEXT_MAX = 48, /* of size_format's text, with its NUL */
};

/*
 * Parses a whole number, decimal or with 0x hexadecimal, and a unit: K, M, G, T, P, E or KiB, MiB,
 * … (powers of 1024), KB, MB, … (powers of 1000), in upper or lower case. Returns 0, -EINVAL if the
 * text is no such number, or -ERANGE if it does not fit 64 bits.
 */
int size_parse(const char *text, uint64_t *ret_value);

/* "512 B", "1 MiB", "1.5 GiB": at most one digit after the point, rounded down. */
void size_format(uint64_t bytes, char ret_text[static SIZE_TEXT_MAX]);

/*
 * The size that a person asks for when it is `current` now: "SIZE", or "+SIZE" and "-SIZE" to
 * change it. `unit_bytes` is what the number counts (1: bytes). Returns 0, or as size_parse;
 * -ERANGE also when the size would be negative.
 */
int size_parse_relative(const char *text, uint64_t current_bytes, uint64_t unit_bytes,
                        uint64_t *ret_bytes);

#endif
