/* SPDX-License-Identifier: MIT */
#include "tests/unit/common/config_uri_fixture.h"

/* ---- spellings of the path ---- */

static const struct {
    const char *text;
    const char *path;
} spellings[] = {
    {"file:///var/tmp/foo.qcow2", "/var/tmp/foo.qcow2"},
    {"file:/var/tmp/foo.qcow2", "/var/tmp/foo.qcow2"},
    {"file://localhost/var/tmp/foo", "/var/tmp/foo"},
    {"file:C:%5Ccygwin", "C:\\cygwin"},
    {"file:C:%5ccygwin", "C:\\cygwin"},
    {"file:C:\\cygwin", "C:\\cygwin"},
    {"file:disk.img", "disk.img"},
    {"file:dir/disk.img?lock=1", "dir/disk.img"},
    {"file:////two/slashes", "//two/slashes"},
    {"file:///with%20a%20space", "/with a space"},
    {"file:///with a space", "/with a space"},
    {"file:///100%25", "/100%"},
    {"file:///what%3F?sync=os", "/what?"},
    {"file:///a%26b&c", "/a&b&c"},
    {"file:///a%23b", "/a#b"},
    {"file:///a+b", "/a+b"},
    {"file:///a%0Ab", "/a\nb"},
    {"file:///stra%C3%9Fe", "/stra\303\237e"},
    {"file:///stra\303\237e", "/stra\303\237e"},
    {"file:///%ff%FE%80", "/\xff\xfe\x80"},
    {"file:///%2Fdouble", "//double"},
    {"file:///empty-query?", "/empty-query"},
    {"file:///empty-pairs?&&lock=1&", "/empty-pairs"},
    {"file:buffered:x", "buffered:x"},
    {"buffered:/dev/disk0", "/dev/disk0"},
    {"buffered:disk.img", "disk.img"},
    {"buffered:/100%25?lock=1#x", "/100%25?lock=1#x"},
};

START_TEST(path_is_read_from_each_spelling)
{
    const struct config_uri config = parse(spellings[_i].text);

    ck_assert_msg(strcmp(config.path, spellings[_i].path) == 0, "%s gives %s", spellings[_i].text,
                  config.path);
}
END_TEST

START_TEST(missing_keys_are_connects_defaults)
{
    static const char *const texts[] = {"file:///disk", "file:///disk?", "buffered:/disk"};
    struct config_uri expected;

    config_uri_init(&expected);
    strcpy(expected.path, "/disk");
    ck_assert(expected.buffered);
    ck_assert_int_eq(expected.sync, CONFIG_SYNC_OS);
    ck_assert(!expected.lock);
    ck_assert_uint_eq(expected.sector_size, 0);
    ck_assert_int_eq(expected.access, CONFIG_ACCESS_AUTO);
    ck_assert(!expected.strict);
    ck_assert(!expected.discard);
    ck_assert_str_eq(expected.purpose, "");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const struct config_uri config = parse(texts[i]);
        check_same(&config, &expected);
    }
}
END_TEST

START_TEST(init_leaves_the_path_empty)
{
    struct config_uri config;

    memset(&config, 0xff, sizeof(config));
    config_uri_init(&config);
    ck_assert_str_eq(config.path, "");
}
END_TEST

/* ---- keys ---- */

START_TEST(all_keys_are_read)
{
    const struct config_uri config =
        parse("file:///d?mode=ro&prefered_sector_size=4096&lock=1&sync=drive&buffered=0");

    ck_assert(!config.buffered);
    ck_assert(config.lock);
    ck_assert_int_eq(config.sync, CONFIG_SYNC_DRIVE);
    ck_assert_uint_eq(config.sector_size, 4096);
    ck_assert_int_eq(config.access, CONFIG_ACCESS_READ_ONLY);
}
END_TEST

START_TEST(own_keys_are_read)
{
    const struct config_uri config =
        parse("file:///d?strict=1&purpose=nightly%20b%C3%A4ckup%26%3D&discard=1");

    ck_assert(config.strict);
    ck_assert(config.discard);
    ck_assert_str_eq(config.purpose, "nightly b\303\244ckup&=");
    ck_assert(!parse("file:/d?strict=0").strict);
    ck_assert(!parse("file:/d?discard=0").discard);
    ck_assert_str_eq(parse("file:/d?purpose=").purpose, "");
}
END_TEST

/* 64 bytes, however they are written. */
START_TEST(longest_purpose_is_taken_and_one_byte_more_refused)
{
    struct config_uri_error error = {""};
    char text[512] = "file:/d?purpose=";
    struct config_uri config;

    for (int i = 0; i < PURPOSE_MAX; i++)
        strcat(text, i % 2 == 0 ? "x" : "%79");
    config = parse(text);
    ck_assert_uint_eq(strlen(config.purpose), PURPOSE_MAX);
    check_round_trip(&config);
    strcat(text, "x");
    ck_assert_int_eq(config_uri_parse(text, &config, &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error.message, "at most 64 bytes"));
}
END_TEST

START_TEST(sync_has_five_spellings)
{
    ck_assert_int_eq(parse("file:/d?sync=none").sync, CONFIG_SYNC_NONE);
    ck_assert_int_eq(parse("file:/d?sync=os").sync, CONFIG_SYNC_OS);
    ck_assert_int_eq(parse("file:/d?sync=drive").sync, CONFIG_SYNC_DRIVE);
    ck_assert_int_eq(parse("file:/d?sync=0").sync, CONFIG_SYNC_NONE);
    ck_assert_int_eq(parse("file:/d?sync=1").sync, CONFIG_SYNC_DRIVE);
}
END_TEST

START_TEST(mode_has_three_values)
{
    ck_assert_int_eq(parse("file:/d?mode=auto").access, CONFIG_ACCESS_AUTO);
    ck_assert_int_eq(parse("file:/d?mode=ro").access, CONFIG_ACCESS_READ_ONLY);
    ck_assert_int_eq(parse("file:/d?mode=rw").access, CONFIG_ACCESS_READ_WRITE);
}
END_TEST

START_TEST(sector_sizes_are_those_that_blkd_serves)
{
    ck_assert_uint_eq(parse("file:/d?prefered_sector_size=0").sector_size, 0);
    ck_assert_uint_eq(parse("file:/d?prefered_sector_size=512").sector_size, 512);
    ck_assert_uint_eq(parse("file:/d?prefered_sector_size=65536").sector_size, 65536);
}
END_TEST

START_TEST(keys_and_values_are_decoded_too)
{
    const struct config_uri config = parse("file:/d?l%6Fck=%31&%73ync=%6eone");

    ck_assert(config.lock);
    ck_assert_int_eq(config.sync, CONFIG_SYNC_NONE);
}
END_TEST

/* What mirage-block-unix 2.14 writes for the configurations of its own test. */
START_TEST(strings_written_by_mirage_block_unix_are_read)
{
    struct config_uri config = parse("file:C:%5Ccygwin?buffered=1&sync=none&lock=0");

    ck_assert_str_eq(config.path, "C:\\cygwin");
    ck_assert(config.buffered && !config.lock);
    ck_assert_int_eq(config.sync, CONFIG_SYNC_NONE);
    config = parse("file:/var/tmp/foo.qcow2?buffered=0&sync=drive&lock=1");
    ck_assert_str_eq(config.path, "/var/tmp/foo.qcow2");
    ck_assert(!config.buffered && config.lock);
    ck_assert_int_eq(config.sync, CONFIG_SYNC_DRIVE);
}
END_TEST

/* RFC 3986, 3.1: a scheme's case means nothing. A path's does. */
START_TEST(scheme_may_be_in_capitals)
{
    struct config_uri config = parse("FILE:///Var/X.img?lock=1");
    ck_assert_str_eq(config.path, "/Var/X.img");
    ck_assert(config.lock);
    config = parse("File:disk.img");
    ck_assert_str_eq(config.path, "disk.img");
}
END_TEST

START_TEST(scheme_is_recognised)
{
    ck_assert(config_uri_has_scheme("file:///x"));
    ck_assert(config_uri_has_scheme("file:x"));
    ck_assert(config_uri_has_scheme("file:"));
    ck_assert(config_uri_has_scheme("FILE:///x"));
    ck_assert(config_uri_has_scheme("File:x"));
    ck_assert(config_uri_has_scheme("buffered:/x"));
    ck_assert(!config_uri_has_scheme("/file:x"));
    ck_assert(!config_uri_has_scheme("file"));
    ck_assert(!config_uri_has_scheme("FILES:/x"));
    ck_assert(!config_uri_has_scheme("files:/x"));
    ck_assert(!config_uri_has_scheme("buffered"));
    ck_assert(!config_uri_has_scheme(""));
    ck_assert(!config_uri_has_scheme("nbd://x"));
}
END_TEST

/* ---- refusals ---- */

static const struct {
    const char *text;
    const char *named; /* what the message must contain */
} refused[] = {
    {"", "file:"},
    {"/dev/sda", "/dev/sda"},
    {"nbd://host/x", "nbd://host/x"},
    {"BUFFERED:/x", "BUFFERED:/x"},
    {"FILE\x1a/x", "FILE"},
    {"file:", "empty"},
    {"file://", "empty"},
    {"file:?lock=1", "empty"},
    {"file://localhost", "empty"},
    {"buffered:", "empty"},
    {"file://relative", "relative"},
    {"file://dir/disk.img", "\"//dir\""},
    {"file://localhostess/x", "localhostess"},
    {"file:///a#b", "%23"},
    {"file:///a?lock=1#b", "%23"},
    {"file:///a%", "%"},
    {"file:///a%2", "%2"},
    {"file:///a%zz", "%zz"},
    {"file:///a%2g", "%2g"},
    {"file:///a%00b", "NUL"},
    {"file:///a?lock=%00", "NUL"},
    {"file:///a?l%zzck=1", "%zz"},
    {"file:///a?lok=1", "\"lok\""},
    {"file:///a?Lock=1", "\"Lock\""},
    {"file:///a?lock", "\"lock\""},
    {"file:///a?=1", "\"\""},
    {"file:///a?lock=", "lock"},
    {"file:///a?lock=2", "\"2\""},
    {"file:///a?lock=true", "\"true\""},
    {"file:///a?lock=11", "\"11\""},
    {"file:///a?buffered=no", "\"no\""},
    {"file:///a?sync=2", "\"2\""},
    {"file:///a?sync=OS", "\"OS\""},
    {"file:///a?sync=", "sync"},
    {"file:///a?mode=r", "\"r\""},
    {"file:///a?strict=yes", "strict cannot be \"yes\""},
    {"file:///a?discard=", "discard cannot be \"\""},
    {"file:///a?purpose=a&purpose=b", "\"purpose\" is given twice"},
    {"file:///a?purpose=a%00", "%00"},
    {"file:///a?prefered_sector_size=", "prefered_sector_size"},
    {"file:///a?prefered_sector_size=511", "\"511\""},
    {"file:///a?prefered_sector_size=256", "\"256\""},
    {"file:///a?prefered_sector_size=131072", "\"131072\""},
    {"file:///a?prefered_sector_size=-512", "\"-512\""},
    {"file:///a?prefered_sector_size=0x200", "\"0x200\""},
    {"file:///a?prefered_sector_size=4294967808", "\"4294967808\""},
    {"file:///a?prefered_sector_size=18446744073709552128", "18446744073709552128"},
    {"file:///a?lock=1&lock=1", "twice"},
    {"file:///a?lock=0&sync=os&l%6fck=1", "twice"},
    {"file:///a?lock=1?sync=os", "\"1?sync=os\""},
};

START_TEST(refusal_names_the_offending_part_and_changes_nothing)
{
    struct config_uri config, before;
    struct config_uri_error error = {""};

    memset(&config, 0x5a, sizeof(config));
    before = config;
    ck_assert_msg(config_uri_parse(refused[_i].text, &config, &error) == -EINVAL, "%s",
                  refused[_i].text);
    ck_assert_msg(strstr(error.message, refused[_i].named) != NULL, "%s: \"%s\"", refused[_i].text,
                  error.message);
    ck_assert_mem_eq(&config, &before, sizeof(config));
    ck_assert_int_eq(config_uri_parse(refused[_i].text, &config, NULL), -EINVAL);
}
END_TEST

START_TEST(message_holds_no_control_characters_and_is_bounded)
{
    struct config_uri config;
    struct config_uri_error error;
    char text[2000] = "file:///a?";

    memset(text + strlen(text), '\033', sizeof(text) - strlen(text) - 1);
    text[sizeof(text) - 1] = '\0';
    ck_assert_int_eq(config_uri_parse(text, &config, &error), -EINVAL);
    ck_assert_uint_lt(strlen(error.message), sizeof(error.message));
    ck_assert_ptr_null(strchr(error.message, '\033'));
}
END_TEST

/* "file:/" or "buffered:/" and `length - 1` times `unit`, so a path of `length` bytes. */
static int parse_long(const char *prefix, const char *unit, size_t length,
                      struct config_uri *config)
{
    static char text[TEXT_MAX];
    char *end = stpcpy(text, prefix);
    struct config_uri_error error;

    for (size_t i = 1; i < length; i++)
        end = stpcpy(end, unit);
    return config_uri_parse(text, config, &error);
}

START_TEST(longest_path_is_taken_and_one_byte_more_refused)
{
    struct config_uri config;

    ck_assert_int_eq(parse_long("file:/", "x", PATH_BYTES_MAX - 1, &config), 0);
    ck_assert_uint_eq(strlen(config.path), PATH_BYTES_MAX - 1);
    ck_assert_int_eq(parse_long("file:/", "%ff", PATH_BYTES_MAX - 1, &config), 0);
    ck_assert_uint_eq(strlen(config.path), PATH_BYTES_MAX - 1);
    check_round_trip(&config);
    ck_assert_int_eq(parse_long("buffered:/", "x", PATH_BYTES_MAX - 1, &config), 0);
    ck_assert_uint_eq(strlen(config.path), PATH_BYTES_MAX - 1);
    ck_assert_int_eq(parse_long("file:/", "x", PATH_BYTES_MAX, &config), -ENAMETOOLONG);
    ck_assert_int_eq(parse_long("file:/", "%ff", PATH_BYTES_MAX, &config), -ENAMETOOLONG);
    ck_assert_int_eq(parse_long("buffered:/", "x", PATH_BYTES_MAX, &config), -ENAMETOOLONG);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_uri");
    TCase *tests = tcase_create("config_uri");

    tcase_add_loop_test(tests, path_is_read_from_each_spelling, 0,
                        sizeof(spellings) / sizeof(spellings[0]));
    tcase_add_test(tests, missing_keys_are_connects_defaults);
    tcase_add_test(tests, init_leaves_the_path_empty);
    tcase_add_test(tests, all_keys_are_read);
    tcase_add_test(tests, own_keys_are_read);
    tcase_add_test(tests, longest_purpose_is_taken_and_one_byte_more_refused);
    tcase_add_test(tests, sync_has_five_spellings);
    tcase_add_test(tests, mode_has_three_values);
    tcase_add_test(tests, sector_sizes_are_those_that_blkd_serves);
    tcase_add_test(tests, keys_and_values_are_decoded_too);
    tcase_add_test(tests, strings_written_by_mirage_block_unix_are_read);
    tcase_add_test(tests, scheme_is_recognised);
    tcase_add_test(tests, scheme_may_be_in_capitals);
    tcase_add_loop_test(tests, refusal_names_the_offending_part_and_changes_nothing, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tests, message_holds_no_control_characters_and_is_bounded);
    tcase_add_test(tests, longest_path_is_taken_and_one_byte_more_refused);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
