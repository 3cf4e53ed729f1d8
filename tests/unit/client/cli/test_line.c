/* SPDX-License-Identifier: MIT */
/* What blkd-cli prints besides tables: JSON, points in time, what a watcher is told. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/json.h"
#include "client/cli/line.h"
#include "client/cli/when.h"
#include "client/cli/words.h"

static char printed[4096];

static FILE *open_printed(void)
{
    FILE *out;

    memset(printed, 0, sizeof(printed));
    out = fmemopen(printed, sizeof(printed), "w");
    ck_assert_ptr_nonnull(out);
    return out;
}

START_TEST(json_is_nested_and_separated)
{
    FILE *out = open_printed();
    struct json json = JSON_INIT(out);

    json_open(&json, NULL, '{');
    json_number(&json, "a", UINT64_MAX);
    json_open(&json, "list", '[');
    json_number(&json, NULL, 1);
    json_open(&json, NULL, '{');
    json_bool(&json, "yes", true);
    json_bool(&json, "no", false);
    json_close(&json, '}');
    json_open(&json, NULL, '[');
    json_close(&json, ']');
    json_close(&json, ']');
    json_text(&json, "none", NULL);
    json_close(&json, '}');
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(printed, "{\"a\": 18446744073709551615, \"list\": [1, {\"yes\": true, "
                              "\"no\": false}, []], \"none\": null}");
}
END_TEST

START_TEST(json_texts_are_escaped)
{
    FILE *out = open_printed();
    struct json json = JSON_INIT(out);

    json_text(&json, NULL, "a\"b\\c\n\x01\xff\303\244");
    ck_assert_int_eq(fclose(out), 0);
    /* What is no UTF-8 is told as text_escape tells it. */
    ck_assert_str_eq(printed, "\"a\\\"b\\\\c\\u000a\\u0001\\\\xff\303\244\"");
}
END_TEST

START_TEST(ages_have_two_units)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } ages[] = {
        {0, "0s"},       {59, "59s"},       {60, "1m00s"},    {3599, "59m59s"},
        {3600, "1h00m"}, {86399, "23h59m"}, {86400, "1d00h"}, {86400 * 9 + 3600 * 5, "9d05h"},
    };
    char text[WHEN_TEXT_MAX];

    for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
        when_format_age(ages[i].seconds, text);
        ck_assert_str_eq(text, ages[i].text);
    }
}
END_TEST

START_TEST(ages_are_from_now_and_never_negative)
{
    uint64_t now_ms = (uint64_t)time(NULL) * 1000;

    ck_assert_uint_eq(when_age_seconds(now_ms + 60000), 0);
    ck_assert_uint_ge(when_age_seconds(now_ms - 60000), 60);
    ck_assert_uint_le(when_age_seconds(now_ms - 60000), 120);
}
END_TEST

START_TEST(durations_have_units)
{
    static const struct {
        uint64_t us;
        const char *text;
    } durations[] = {
        {0, "0 us"},          {999, "999 us"},    {1000, "1.0 ms"},     {12399, "12.3 ms"},
        {999999, "999.9 ms"}, {1000000, "1.0 s"}, {61560000, "61.5 s"},
    };
    char text[WHEN_TEXT_MAX];

    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        when_format_duration(durations[i].us, text);
        ck_assert_str_eq(text, durations[i].text);
    }
}
END_TEST

START_TEST(times_are_local_with_milliseconds)
{
    char text[WHEN_TEXT_MAX];

    when_format(86400 * 1000 + 7, text);
    ck_assert_str_eq(text, "1970-01-02 01:00:00.007");
    when_format(UINT64_MAX, text);
    ck_assert_uint_gt(strlen(text), 0);
}
END_TEST

static struct blkd_happening make(enum blkd_happening_what what)
{
    return (struct blkd_happening){
        .what = what,
        .device_number = 3,
        .session_number = 5,
        .path = "/srv/a\nb.img",
        .unix_ms = 1007,
        .pid = 12,
        .uid = 34,
        .command = "qemu",
        .purpose = "a vm",
        .mode = BLKD_LOCK_EXCLUSIVE,
        .offset_bytes = 1024,
        .length_bytes = 512,
        .token = 7,
        .size_bytes = 4096,
        .generation = 2,
        .error = -EIO,
    };
}

static void check_text(const struct blkd_happening *happening, const char *expected)
{
    FILE *out = open_printed();

    line_print_text(happening, out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(printed, expected);
}

#define WHEN "1970-01-01 01:00:01.007  "
#define DEVICE "device 3 /srv/a\\x0ab.img"
#define WHO ", session 5, pid 12, uid 34 (qemu), \"a vm\"\n"

START_TEST(happenings_are_lines)
{
    struct blkd_happening happening = make(BLKD_HAPPENING_LOCK_GRANTED);

    check_text(&happening,
               WHEN "lock-granted    " DEVICE ": exclusive, bytes 1024 to 1535, token 7" WHO);
    happening.length_bytes = 0;
    happening.token = 0;
    happening.mode = BLKD_LOCK_SHARED;
    check_text(&happening, WHEN "lock-granted    " DEVICE ": shared" WHO);
    happening = make(BLKD_HAPPENING_RESIZED);
    check_text(&happening, WHEN "resized         " DEVICE ": 4096 bytes, generation 2" WHO);
    happening = make(BLKD_HAPPENING_SESSION_CLOSED);
    check_text(&happening, WHEN "session-closed  " DEVICE WHO);
    happening = make(BLKD_HAPPENING_SYNC_FAILED);
    happening.session_number = 0;
    check_text(&happening, WHEN "sync-failed     " DEVICE
                                ": Input/output error; writes and flushes are now refused\n");
    happening = make(BLKD_HAPPENING_RECOVERED);
    happening.session_number = 0;
    happening.left_out = 9;
    check_text(&happening, "(events lost because they came too fast: 9)\n" WHEN
                           "recovered       " DEVICE ": generation 2\n");
    happening = make((enum blkd_happening_what)99);
    happening.path = happening.command = happening.purpose = "";
    happening.pid = 0;
    check_text(&happening, WHEN "unknown         device 3, session 5\n");
}
END_TEST

static void check_json(const struct blkd_happening *happening, const char *expected)
{
    FILE *out = open_printed();

    line_print_json(happening, out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(printed, expected);
}

#define JSON_DEVICE "\"device\": 3, \"path\": \"/srv/a\\u000ab.img\", "
#define JSON_WHO                                                                                   \
    "\"session\": 5, \"pid\": 12, \"uid\": 34, \"command\": \"qemu\", \"purpose\": \"a vm\", "

START_TEST(happenings_are_objects)
{
    struct blkd_happening happening = make(BLKD_HAPPENING_LOCK_WAITS);

    check_json(&happening,
               "{\"unix_ms\": 1007, \"event\": \"lock-waits\", " JSON_DEVICE JSON_WHO
               "\"mode\": \"exclusive\", \"offset_bytes\": 1024, \"length_bytes\": 512, "
               "\"token\": 7, \"left_out\": 0}\n");
    happening = make(BLKD_HAPPENING_SYNC_FAILED);
    happening.session_number = 0;
    happening.left_out = 4;
    check_json(&happening, "{\"unix_ms\": 1007, \"event\": \"sync-failed\", " JSON_DEVICE
                           "\"error\": \"EIO\", \"left_out\": 4}\n");
    happening = make(BLKD_HAPPENING_RESIZED);
    check_json(&happening, "{\"unix_ms\": 1007, \"event\": \"resized\", " JSON_DEVICE JSON_WHO
                           "\"size_bytes\": 4096, \"generation\": 2, \"left_out\": 0}\n");
    happening = make(BLKD_HAPPENING_RECOVERED);
    check_json(&happening, "{\"unix_ms\": 1007, \"event\": \"recovered\", " JSON_DEVICE JSON_WHO
                           "\"generation\": 2, \"left_out\": 0}\n");
}
END_TEST

START_TEST(every_kind_has_a_word_of_its_own)
{
    for (int i = 1; i <= BLKD_HAPPENING_DEVICE_CLOSED; i++)
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(words_happening((enum blkd_happening_what)i),
                             words_happening((enum blkd_happening_what)j));
    for (int i = 1; i <= BLKD_HOLDER_LEASE; i++)
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(words_holder((enum blkd_holder_kind)i),
                             words_holder((enum blkd_holder_kind)j));
    ck_assert_str_eq(words_holder((enum blkd_holder_kind)77), "unknown");
    ck_assert_str_ne(words_lost(BLKD_LOST_BROKEN), words_lost(BLKD_LOST_OUTSIDE));
}
END_TEST

static void setup(void)
{
    ck_assert_int_eq(setenv("TZ", "XXX-1", 1), 0); /* an hour east */
    tzset();
}

static Suite *line_suite(void)
{
    Suite *suite = suite_create("cli_line");
    TCase *tests = tcase_create("line");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, json_is_nested_and_separated);
    tcase_add_test(tests, json_texts_are_escaped);
    tcase_add_test(tests, ages_have_two_units);
    tcase_add_test(tests, ages_are_from_now_and_never_negative);
    tcase_add_test(tests, durations_have_units);
    tcase_add_test(tests, times_are_local_with_milliseconds);
    tcase_add_test(tests, happenings_are_lines);
    tcase_add_test(tests, happenings_are_objects);
    tcase_add_test(tests, every_kind_has_a_word_of_its_own);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(line_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
