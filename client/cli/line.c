/* SPDX-License-Identifier: MIT */
#include "client/cli/line.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/cli/when.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

static bool line_is_about_a_lock(const struct blkd_happening *happening)
{
    switch (happening->what) {
    case BLKD_HAPPENING_LOCK_GRANTED:
    case BLKD_HAPPENING_LOCK_RELEASED:
    case BLKD_HAPPENING_LOCK_WAITS:
    case BLKD_HAPPENING_LOCK_LOST:
        return true;
    default:
        return false;
    }
}

/* Escaped for a terminal: others chose these bytes. */
static void line_put(const char *before, const char *text, const char *after, FILE *out)
{
    CLEANUP_FREE char *shown = NULL;

    if (!text || text[0] == '\0')
        return;
    shown = text_escape(text, TEXT_TERMINAL);
    (void)fprintf(out, "%s%s%s", before, shown ? shown : "?", after);
}

static void line_put_lock(const struct blkd_happening *happening, FILE *out)
{
    (void)fprintf(out, ": %s", words_lock(happening->mode));
    if (happening->length_bytes != 0)
        (void)fprintf(out, ", bytes %" PRIu64 " to %" PRIu64, happening->offset_bytes,
                      happening->offset_bytes + happening->length_bytes - 1);
    if (happening->token != 0)
        (void)fprintf(out, ", token %" PRIu64, happening->token);
}

static void line_put_details(const struct blkd_happening *happening, FILE *out)
{
    if (line_is_about_a_lock(happening))
        line_put_lock(happening, out);
    else if (happening->what == BLKD_HAPPENING_RESIZED)
        (void)fprintf(out, ": %" PRIu64 " bytes, generation %" PRIu64, happening->size_bytes,
                      happening->generation);
    else if (happening->what == BLKD_HAPPENING_RECOVERED)
        (void)fprintf(out, ": generation %" PRIu64, happening->generation);
    else if (happening->what == BLKD_HAPPENING_SYNC_FAILED)
        (void)fprintf(out, ": %s; writes and flushes are now refused",
                      strerrordesc_np(abs(happening->error)) ?: "unknown error");
}

static void line_put_session(const struct blkd_happening *happening, FILE *out)
{
    if (happening->session_number == 0)
        return;
    (void)fprintf(out, ", session %" PRIu64, happening->session_number);
    if (happening->pid != 0)
        (void)fprintf(out, ", pid %" PRIu32 ", uid %" PRIu32, happening->pid, happening->uid);
    line_put(" (", happening->command, ")", out);
    line_put(", \"", happening->purpose, "\"", out);
}

void line_print_text(const struct blkd_happening *happening, FILE *out)
{
    char when[WHEN_TEXT_MAX];

    if (happening->left_out != 0)
        (void)fprintf(out, "(events lost because they came too fast: %" PRIu64 ")\n",
                      happening->left_out);
    when_format(happening->unix_ms, when);
    (void)fprintf(out, "%s  %-14s  device %" PRIu64, when, words_happening(happening->what),
                  happening->device_number);
    line_put(" ", happening->path, "", out);
    line_put_details(happening, out);
    line_put_session(happening, out);
    (void)fputc('\n', out);
}

static void line_json_details(struct json *json, const struct blkd_happening *happening)
{
    if (line_is_about_a_lock(happening)) {
        json_text(json, "mode", words_lock(happening->mode));
        json_number(json, "offset_bytes", happening->offset_bytes);
        json_number(json, "length_bytes", happening->length_bytes);
        json_number(json, "token", happening->token);
    } else if (happening->what == BLKD_HAPPENING_RESIZED) {
        json_number(json, "size_bytes", happening->size_bytes);
        json_number(json, "generation", happening->generation);
    } else if (happening->what == BLKD_HAPPENING_RECOVERED) {
        json_number(json, "generation", happening->generation);
    } else if (happening->what == BLKD_HAPPENING_SYNC_FAILED) {
        json_text(json, "error", strerrorname_np(abs(happening->error)));
    }
}

void line_print_json(const struct blkd_happening *happening, FILE *out)
{
    struct json json = JSON_INIT(out);

    json_open(&json, NULL, '{');
    json_number(&json, "unix_ms", happening->unix_ms);
    json_text(&json, "event", words_happening(happening->what));
    json_number(&json, "device", happening->device_number);
    json_text(&json, "path", happening->path);
    if (happening->session_number != 0) {
        json_number(&json, "session", happening->session_number);
        json_number(&json, "pid", happening->pid);
        json_number(&json, "uid", happening->uid);
        json_text(&json, "command", happening->command);
        json_text(&json, "purpose", happening->purpose);
    }
    line_json_details(&json, happening);
    json_number(&json, "left_out", happening->left_out);
    json_close(&json, '}');
    (void)fputc('\n', out);
}
