/* SPDX-License-Identifier: MIT */
/*
 * See log.h. The level and the form of a line are constant once threads run. A line is put together
 * without a lock; one mutex then keeps lines whole, and counts those that nobody read.
 */
#include "daemon/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/status.h"
#include "common/text.h"

static enum log_level log_threshold = LOG_LEVEL_INFO;
static bool log_with_priority;

static const struct {
    const char *name;
    int syslog_priority;
} log_levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},   [LOG_LEVEL_WARNING] = {"warning", 4},
    [LOG_LEVEL_NOTICE] = {"notice", 5}, [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

void log_init(enum log_level level)
{
    log_threshold = level;
    log_with_priority = getenv("JOURNAL_STREAM") != NULL;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
    for (unsigned int i = 0; i < sizeof(log_levels) / sizeof(log_levels[0]); i++) {
        if (strcmp(name, log_levels[i].name) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

bool log_enabled(enum log_level level)
{
    return level <= log_threshold;
}

/* One byte stays free for the newline. */
static void log_put(struct log_line *line, char character)
{
    if (line->length < LOG_LINE_MAX - 1)
        line->text[line->length++] = character;
}

static void log_puts(struct log_line *line, const char *text)
{
    while (*text != '\0')
        log_put(line, *text++);
}

/* A word that needs no quotes. */
static bool log_is_word(const char *value)
{
    if (*value == '\0')
        return false;
    while (*value != '\0') {
        bool plain;
        size_t length = text_next(value, &plain);
        if (!plain || strchr(" \"=\\", *value) != NULL)
            return false;
        value += length;
    }
    return true;
}

/* Whole characters: a line that is cut is UTF-8 still. */
static void log_put_character(struct log_line *line, const char *bytes, size_t length)
{
    if (line->length + length > LOG_LINE_MAX - 1)
        return;
    for (size_t i = 0; i < length; i++)
        log_put(line, bytes[i]);
}

static void log_put_escaped(struct log_line *line, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char escape[5];
        (void)snprintf(escape, sizeof(escape), "\\x%02x", (unsigned char)bytes[i]);
        log_puts(line, escape);
    }
}

/* What a client chose (a path, a command) cannot forge a line or another key, nor drive a terminal.
 */
static void log_put_quoted(struct log_line *line, const char *value)
{
    log_put(line, '"');
    while (*value != '\0') {
        bool plain;
        size_t length = text_next(value, &plain);
        if (*value == '"' || *value == '\\')
            log_put(line, '\\');
        if (plain)
            log_put_character(line, value, length);
        else
            log_put_escaped(line, value, length);
        value += length;
    }
    log_put(line, '"');
}

void log_begin(struct log_line *line, enum log_level level, const char *event)
{
    line->level = level;
    line->length = 0;
    if (log_with_priority) {
        char prefix[8];
        (void)snprintf(prefix, sizeof(prefix), "<%d>", log_levels[level].syslog_priority);
        log_puts(line, prefix);
    }
    log_puts(line, "level=");
    log_puts(line, log_levels[level].name);
    log_text(line, "event", event);
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    log_put(line, ' ');
    log_puts(line, key);
    log_put(line, '=');
    if (log_is_word(value) && strlen(value) < LOG_LINE_MAX - line->length)
        log_puts(line, value);
    else
        log_put_quoted(line, value);
}

void log_number(struct log_line *line, const char *key, uint64_t value)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    log_text(line, key, digits);
}

void log_errno(struct log_line *line, int error)
{
    char words[128];
    const char *name = strerrorname_np(-error);
    log_text(line, "errno", name != NULL ? name : status_name(error));
    log_text(line, "error", strerror_r(-error, words, sizeof(words)));
}

/* A log that cannot be written must not stop the daemon. Whoever reads a pipe or socket may have
 * stopped; poll(2) says that it takes a line, because it then has a page or more free. */
static bool log_write(struct log_line *line)
{
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&log, 1, 0) <= 0)
        return false;
    line->text[line->length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line->text, line->length);
    (void)written;
    return true;
}

static bool log_write_lost(unsigned int lines)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "log-lost");
    log_number(&line, "lines", lines);
    log_text(&line, "message", "nobody read the log, so lines were dropped");
    return log_write(&line);
}

void log_end(struct log_line *line)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* from poll to write */
    static unsigned int lost;
    if (!log_enabled(line->level))
        return;
    pthread_mutex_lock(&mutex);
    if (lost > 0 && log_write_lost(lost))
        lost = 0;
    if (lost > 0 || !log_write(line))
        lost++;
    pthread_mutex_unlock(&mutex);
}

void log_message(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    char text[LOG_LINE_MAX / 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);

    struct log_line line;
    log_begin(&line, level, event);
    log_text(&line, "message", text);
    log_end(&line);
}
