/* SPDX-License-Identifier: MIT */
/*
 * The daemon's log: one line an event, `event key=value key="quoted value"`, to standard error.
 * Under systemd each line carries its priority (sd-daemon(3)). Any thread; a line is written whole.
 */
#ifndef BLKD_DAEMON_BASE_LOG_H
#define BLKD_DAEMON_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

enum { LOG_LINE_MAX = 2048 };

/* A line under way. Longer than LOG_LINE_MAX it is cut, never split. */
struct log_line {
    enum log_level level;
    unsigned int length;
    char text[LOG_LINE_MAX];
};

/* Lines less important than `level` are dropped. Call before threads start. */
void log_init(enum log_level level);

/* "error", "warning", "notice", "info", "debug". Returns 0 or -EINVAL. */
int log_level_parse(const char *name, enum log_level *ret_level);

bool log_enabled(enum log_level level);

void log_begin(struct log_line *line, enum log_level level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_number(struct log_line *line, const char *key, uint64_t value);
/* `error`: a negative errno; adds its name and its words. */
void log_errno(struct log_line *line, int error);
void log_end(struct log_line *line);

/* A line of an event and one text, printf-formatted, as `message`. */
void log_message(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
