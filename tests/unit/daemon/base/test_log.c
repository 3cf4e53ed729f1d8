/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "tests/unit/suite.h"

static int saved_stderr;
static int pipe_fds[2];
static char output[2 * LOG_LINE_MAX];

static void setup(void)
{
    (void)unsetenv("JOURNAL_STREAM");
    saved_stderr = dup(STDERR_FILENO);
    ck_assert_int_eq(pipe(pipe_fds), 0);
    (void)dup2(pipe_fds[1], STDERR_FILENO);
}

static const char *logged(void)
{
    (void)dup2(saved_stderr, STDERR_FILENO);
    (void)close(pipe_fds[1]);
    ssize_t length = read(pipe_fds[0], output, sizeof(output) - 1);
    ck_assert_int_ge(length, 0);
    output[length] = '\0';
    return output;
}

static void log_path(const char *path)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_INFO, "opened");
    log_text(&line, "path", path);
    log_number(&line, "session", 7);
    log_end(&line);
}

START_TEST(a_line_is_keys_and_values)
{
    log_init(LOG_LEVEL_INFO);
    log_path("/srv/a.img");
    ck_assert_str_eq(logged(), "level=info event=opened path=/srv/a.img session=7\n");
}
END_TEST

START_TEST(a_path_cannot_forge_a_line_or_a_key)
{
    log_init(LOG_LEVEL_INFO);
    log_path("/a b\nlevel=error x=\"\\");
    ck_assert_str_eq(
        logged(), "level=info event=opened path=\"/a b\\x0alevel=error x=\\\"\\\\\" session=7\n");
}
END_TEST

static const struct {
    const char *path;
    const char *shown;
} names[] = {
    {"/gr\xc3\xbc\xc3\x9f", "/gr\xc3\xbc\xc3\x9f"},
    {"/\xff\xfe.img", "\"/\\xff\\xfe.img\""},
    {"/\xc2\x9b"
     "31m",
     "\"/\\xc2\\x9b31m\""},
    {"/a\xe2\x80\xaegmi\xe2\x80\xac", "\"/a\\xe2\\x80\\xaegmi\\xe2\\x80\\xac\""},
};

START_TEST(only_plain_utf8_is_in_a_line)
{
    char expected[128];
    log_init(LOG_LEVEL_INFO);
    log_path(names[_i].path);
    (void)snprintf(expected, sizeof(expected), "level=info event=opened path=%s session=7\n",
                   names[_i].shown);
    ck_assert_str_eq(logged(), expected);
}
END_TEST

#define EURO "\xe2\x82\xac"

START_TEST(a_line_is_not_cut_within_a_character)
{
    char path[2 * LOG_LINE_MAX] = "pp";
    char *end = path + _i;
    while (end < path + sizeof(path) - sizeof(EURO))
        end = stpcpy(end, EURO);
    log_init(LOG_LEVEL_INFO);
    log_path(path);
    const char *rest = strstr(logged(), EURO);
    while (strncmp(rest, EURO, sizeof(EURO) - 1) == 0)
        rest += sizeof(EURO) - 1;
    ck_assert_int_lt((unsigned char)*rest, 0x80);
}
END_TEST

START_TEST(an_empty_value_is_quoted)
{
    log_init(LOG_LEVEL_INFO);
    log_path("");
    ck_assert_str_eq(logged(), "level=info event=opened path=\"\" session=7\n");
}
END_TEST

START_TEST(a_line_that_is_too_long_is_cut_and_still_one_line)
{
    char path[2 * LOG_LINE_MAX];
    (void)memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    log_init(LOG_LEVEL_INFO);
    log_path(path);
    const char *line = logged();
    ck_assert_uint_eq(strlen(line), LOG_LINE_MAX);
    ck_assert_ptr_eq(strchr(line, '\n'), line + LOG_LINE_MAX - 1);
}
END_TEST

START_TEST(what_is_less_important_than_the_level_is_dropped)
{
    log_init(LOG_LEVEL_WARNING);
    log_path("/a");
    log_message(LOG_LEVEL_NOTICE, "dropped", "%d", 1);
    log_message(LOG_LEVEL_ERROR, "kept", "disk %d", 1);
    ck_assert_str_eq(logged(), "level=error event=kept message=\"disk 1\"\n");
}
END_TEST

START_TEST(under_systemd_a_line_carries_its_priority)
{
    (void)setenv("JOURNAL_STREAM", "8:1", 1);
    log_init(LOG_LEVEL_INFO);
    log_message(LOG_LEVEL_ERROR, "failed", "x");
    ck_assert_str_eq(logged(), "<3>level=error event=failed message=x\n");
}
END_TEST

START_TEST(an_errno_is_named_and_explained)
{
    struct log_line line;
    log_init(LOG_LEVEL_INFO);
    log_begin(&line, LOG_LEVEL_ERROR, "io");
    log_errno(&line, -EIO);
    log_end(&line);
    ck_assert_str_eq(logged(), "level=error event=io errno=EIO error=\"Input/output error\"\n");
}
END_TEST

START_TEST(levels_have_names)
{
    enum log_level level = LOG_LEVEL_ERROR;
    ck_assert_int_eq(log_level_parse("debug", &level), 0);
    ck_assert_int_eq(level, LOG_LEVEL_DEBUG);
    ck_assert_int_eq(log_level_parse("DEBUG", &level), -EINVAL);
    ck_assert_int_eq(level, LOG_LEVEL_DEBUG);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("log");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, a_line_is_keys_and_values);
    tcase_add_test(tcase, a_path_cannot_forge_a_line_or_a_key);
    tcase_add_loop_test(tcase, only_plain_utf8_is_in_a_line, 0, sizeof(names) / sizeof(names[0]));
    tcase_add_loop_test(tcase, a_line_is_not_cut_within_a_character, 0, 3);
    tcase_add_test(tcase, an_empty_value_is_quoted);
    tcase_add_test(tcase, a_line_that_is_too_long_is_cut_and_still_one_line);
    tcase_add_test(tcase, what_is_less_important_than_the_level_is_dropped);
    tcase_add_test(tcase, under_systemd_a_line_carries_its_priority);
    tcase_add_test(tcase, an_errno_is_named_and_explained);
    tcase_add_test(tcase, levels_have_names);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
