/* SPDX-License-Identifier: MIT */
/* How configurations are written: as documented, and so that reading gives them back. */
#include "tests/unit/common/config_uri_fixture.h"

static struct config_uri make_config(const char *path)
{
    struct config_uri config;

    config_uri_init(&config);
    strcpy(config.path, path);
    return config;
}

static void check_format(const struct config_uri *config, const char *expected)
{
    char text[TEXT_MAX];

    ck_assert_uint_eq(config_uri_format(config, text, sizeof(text)), strlen(expected));
    ck_assert_str_eq(text, expected);
}

START_TEST(format_is_the_documented_one)
{
    struct config_uri config = make_config("/var/tmp/foo.qcow2");

    check_format(&config, "file:///var/tmp/foo.qcow2?sync=os&buffered=1&lock=0");
    config.buffered = false;
    config.sync = CONFIG_SYNC_DRIVE;
    config.lock = true;
    config.sector_size = 4096;
    config.access = CONFIG_ACCESS_READ_ONLY;
    check_format(&config, "file:///var/tmp/foo.qcow2?sync=drive&buffered=0&lock=1"
                          "&prefered_sector_size=4096&mode=ro");
    config = make_config("/d");
    config.strict = true;
    config.discard = true;
    strcpy(config.purpose, "a b&c=%");
    check_format(&config, "file:///d?sync=os&buffered=1&lock=0&strict=1&discard=1"
                          "&purpose=a%20b%26c=%25");
    check_round_trip(&config);
}
END_TEST

START_TEST(relative_paths_are_formatted_without_slashes_in_front)
{
    const struct config_uri windows = make_config("C:\\cygwin");
    const struct config_uri relative = make_config("dir/a b%");

    check_format(&windows, "file:C:%5Ccygwin?sync=os&buffered=1&lock=0");
    check_format(&relative, "file:dir/a%20b%25?sync=os&buffered=1&lock=0");
}
END_TEST

START_TEST(all_combinations_of_fields_survive_a_round_trip)
{
    static const uint32_t sizes[] = {0, 512, 4096, 65536};
    struct config_uri config = make_config("/disk");

    for (int i = 0; i < 2 * 2 * 3 * 3 * 4; i++) {
        config.buffered = i % 2;
        config.lock = i / 2 % 2;
        config.sync = (enum config_sync)(i / 4 % 3);
        config.access = (enum config_access)(i / 12 % 3);
        config.sector_size = sizes[i / 36];
        check_round_trip(&config);
    }
}
END_TEST

START_TEST(odd_paths_survive_a_round_trip)
{
    static const char *const paths[] = {
        "C:\\cygwin",
        "/a b",
        "/100%",
        "/%41",
        "/a?b=c&lock=1",
        "/a#b",
        "/a\nb\tc\r",
        "//double",
        "///",
        "/",
        "x",
        "?",
        "buffered:/x",
        "file:///x",
        "/stra\303\237e",
        "/\xff\x80\x01",
        "localhost/x",
        "/a+b;c,d=e",
        "/\xe2\x98\x83",
        "/\"'`$(x)*",
        "\\\\host\\dir",
        "/..",
    };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const struct config_uri config = make_config(paths[i]);
        check_round_trip(&config);
    }
}
END_TEST

START_TEST(every_byte_survives_a_round_trip_in_every_place)
{
    struct config_uri config;
    char path[] = "???";

    for (int byte = 1; byte < 256; byte++) {
        for (size_t i = 0; i < 3; i++) {
            strcpy(path, "a/b");
            path[i] = (char)byte;
            config = make_config(path);
            check_round_trip(&config);
        }
    }
}
END_TEST

START_TEST(formatted_text_is_plain_ascii_without_shell_characters)
{
    struct config_uri config = make_config("");
    char text[TEXT_MAX];

    for (int byte = 1; byte < 256; byte++)
        config.path[byte - 1] = (char)byte;
    (void)config_uri_format(&config, text, sizeof(text));
    *strchr(text, '?') = '\0';
    for (const char *c = text; *c; c++)
        ck_assert_msg(*c > ' ' && *c < 127 && !strchr("\"'`$\\*[]{}()<>|;&!#^", *c), "%c", *c);
}
END_TEST

START_TEST(format_is_cut_to_the_buffer_and_tells_the_whole_length)
{
    static const char whole[] = "file:///d%20?sync=os&buffered=1&lock=0";
    const struct config_uri config = make_config("/d ");
    char text[sizeof(whole) + 8];

    ck_assert_uint_eq(config_uri_format(&config, NULL, 0), strlen(whole));
    for (size_t size = 1; size <= sizeof(whole) + 1; size++) {
        memset(text, '~', sizeof(text));
        ck_assert_uint_eq(config_uri_format(&config, text, size), strlen(whole));
        const size_t kept = size - 1 < strlen(whole) ? size - 1 : strlen(whole);
        ck_assert_uint_eq(strlen(text), kept);
        ck_assert_mem_eq(text, whole, kept);
        ck_assert_int_eq(text[size], '~');
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_uri, formatting");
    TCase *tests = tcase_create("format");

    tcase_add_test(tests, format_is_the_documented_one);
    tcase_add_test(tests, relative_paths_are_formatted_without_slashes_in_front);
    tcase_add_test(tests, all_combinations_of_fields_survive_a_round_trip);
    tcase_add_test(tests, odd_paths_survive_a_round_trip);
    tcase_add_test(tests, every_byte_survives_a_round_trip_in_every_place);
    tcase_add_test(tests, formatted_text_is_plain_ascii_without_shell_characters);
    tcase_add_test(tests, format_is_cut_to_the_buffer_and_tells_the_whole_length);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
