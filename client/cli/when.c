/* SPDX-License-Identifier: MIT */
#include "client/cli/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void when_format_age(uint64_t seconds, char ret_text[static WHEN_TEXT_MAX])
{
    uint64_t minutes = seconds / 60;
    uint64_t hours = minutes / 60;
    uint64_t days = hours / 24;

    if (minutes == 0)
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 "s", seconds);
    else if (hours == 0)
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 "m%02" PRIu64 "s", minutes,
                       seconds % 60);
    else if (days == 0)
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 "h%02" PRIu64 "m", hours, minutes % 60);
    else
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 "d%02" PRIu64 "h", days, hours % 24);
}

uint64_t when_age_seconds(uint64_t unix_ms)
{
    struct timespec now;
    uint64_t now_ms;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return now_ms > unix_ms ? (now_ms - unix_ms) / 1000 : 0;
}

void when_format(uint64_t unix_ms, char ret_text[static WHEN_TEXT_MAX])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm local;
    size_t length = 0;

    if (localtime_r(&seconds, &local))
        length = strftime(ret_text, WHEN_TEXT_MAX, "%F %T", &local);
    if (length == 0) /* a year that no calendar has */
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 " ms", unix_ms);
    else
        (void)snprintf(ret_text + length, WHEN_TEXT_MAX - length, ".%03u",
                       (unsigned int)(unix_ms % 1000));
}

void when_format_duration(uint64_t us, char ret_text[static WHEN_TEXT_MAX])
{
    if (us < 1000)
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 " us", us);
    else if (us < 1000000)
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " ms", us / 1000,
                       us % 1000 / 100);
    else
        (void)snprintf(ret_text, WHEN_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " s", us / 1000000,
                       us % 1000000 / 100000);
}
