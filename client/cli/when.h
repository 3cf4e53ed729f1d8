/* SPDX-License-Identifier: MIT */
/*
 * Points in time and ages as people read them. The daemon tells milliseconds since 1970. Pure but
 * for the clock and the time zone.
 */
#ifndef BLKD_CLI_WHEN_H
#define BLKD_CLI_WHEN_H

#include <stdint.h>

enum {
    WHEN_TEXT_MAX = 40, /* of any text, with its NUL */
};

/* "42s", "3m12s", "5h07m", "2d04h": two units are enough to know how long ago it was. */
void when_format_age(uint64_t seconds, char ret_text[static WHEN_TEXT_MAX]);

/* How long ago that was; 0 if the clock has been set back since. */
uint64_t when_age_seconds(uint64_t unix_ms);

/* "2026-01-31 23:59:59.123", local time. */
void when_format(uint64_t unix_ms, char ret_text[static WHEN_TEXT_MAX]);

/* "850 us", "12.3 ms", "4.5 s" */
void when_format_duration(uint64_t us, char ret_text[static WHEN_TEXT_MAX]);

#endif
