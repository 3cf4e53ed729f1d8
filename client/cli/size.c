/* SPDX-License-Identifier: MIT */
#include "client/cli/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char SIZE_UNITS[] = "KMGTPE";

/* What a number with this suffix is multiplied with: 0 and -EINVAL if there is no such suffix. */
static int size_parse_unit(const char *suffix, uint64_t *ret_factor)
{
    uint64_t base = 1024;
    uint64_t factor = 1;
    const char *unit;

    if (*suffix == '\0') {
        *ret_factor = 1;
        return 0;
    }
    unit = strchr(SIZE_UNITS, toupper((unsigned char)*suffix));
    if (!unit)
        return -EINVAL;
    if (strcasecmp(suffix + 1, "B") == 0)
        base = 1000;
    else if (suffix[1] != '\0' && strcasecmp(suffix + 1, "iB") != 0)
        return -EINVAL;
    for (const char *at = SIZE_UNITS; at <= unit; at++)
        factor *= base;
    *ret_factor = factor;
    return 0;
}

int size_parse(const char *text, uint64_t *ret_value)
{
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    uint64_t factor;
    uint64_t value;
    char *suffix;
    int error;

    /* strtoull takes blanks and signs, which are no part of a size. */
    if (!isdigit((unsigned char)text[0]) || (hexadecimal && !isxdigit((unsigned char)text[2])))
        return -EINVAL;
    errno = 0;
    value = strtoull(text, &suffix, hexadecimal ? 16 : 10);
    error = -errno;
    if (error)
        return error;
    error = size_parse_unit(suffix, &factor);
    if (error)
        return error;
    if (value > UINT64_MAX / factor)
        return -ERANGE;
    *ret_value = value * factor;
    return 0;
}

void size_format(uint64_t bytes, char ret_text[static SIZE_TEXT_MAX])
{
    uint64_t unit_bytes = 1024;
    size_t unit = 0;
    uint64_t tenth;

    if (bytes < 1024) {
        (void)snprintf(ret_text, SIZE_TEXT_MAX, "%" PRIu64 " B", bytes);
        return;
    }
    for (; bytes / unit_bytes >= 1024; unit_bytes *= 1024)
        unit++;
    tenth = bytes % unit_bytes / (unit_bytes / 1024) * 10 / 1024; /* cannot overflow */
    if (tenth == 0)
        (void)snprintf(ret_text, SIZE_TEXT_MAX, "%" PRIu64 " %ciB", bytes / unit_bytes,
                       SIZE_UNITS[unit]);
    else
        (void)snprintf(ret_text, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %ciB", bytes / unit_bytes,
                       tenth, SIZE_UNITS[unit]);
}

int size_parse_relative(const char *text, uint64_t current_bytes, uint64_t unit_bytes,
                        uint64_t *ret_bytes)
{
    bool relative = text[0] == '+' || text[0] == '-';
    uint64_t amount;
    uint64_t bytes;
    int error;

    error = size_parse(relative ? text + 1 : text, &amount);
    if (error)
        return error;
    if (__builtin_mul_overflow(amount, unit_bytes, &bytes))
        return -ERANGE;
    if (text[0] == '-' && __builtin_sub_overflow(current_bytes, bytes, &bytes))
        return -ERANGE;
    if (text[0] == '+' && __builtin_add_overflow(current_bytes, bytes, &bytes))
        return -ERANGE;
    *ret_bytes = bytes;
    return 0;
}
