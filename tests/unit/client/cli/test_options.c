/* SPDX-License-Identifier: MIT */
#include "client/cli/options.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MAX = 8 };

static const unsigned int EVERYTHING = OPTIONS_GLOBAL | OPTIONS_JSON | OPTIONS_DEVICE |
                                       OPTIONS_RANGE | OPTIONS_READ | OPTIONS_WRITE |
                                       OPTIONS_RESIZE;

static struct options options;
static struct options_error reason;

/* Parses the words of `line`, up to NULL, as a command's arguments. */
static int parse(unsigned int groups, const char *const *words)
{
    static char copies[ARGUMENTS_MAX][64];
    static char *argv[ARGUMENTS_MAX + 1]; /* options.rest points into it */
    int argc = 1;

    options = (struct options)OPTIONS_INIT;
    reason.message[0] = '\0';
    memset(argv, 0, sizeof(argv));
    argv[0] = copies[0];
    strcpy(copies[0], "command");
    for (; *words; words++, argc++) {
        ck_assert_int_lt(argc, ARGUMENTS_MAX);
        argv[argc] = strcpy(copies[argc], *words);
    }
    return options_parse(&options, groups, argc, argv, &reason);
}

#define PARSE(groups, ...) parse(groups, (const char *const[]){__VA_ARGS__, NULL})

static void check_refused(int error, const char *part)
{
    ck_assert_int_eq(error, -EINVAL);
    ck_assert_msg(strstr(reason.message, part) != NULL, "'%s' lacks '%s'", reason.message, part);
}

START_TEST(options_and_operands_come_in_any_order)
{
    ck_assert_int_eq(PARSE(EVERYTHING, "disk.img", "--count", "4K", "--json", "--offset=0x200"), 0);
    ck_assert_uint_eq(options.operand_count, 1);
    ck_assert_str_eq(options.operands[0], "disk.img");
    ck_assert(options.json);
    ck_assert(options.count_sectors.given);
    ck_assert_uint_eq(options.count_sectors.value, 4096);
    ck_assert_uint_eq(options.offset_bytes.value, 512);
    ck_assert(!options.sector.given);
}
END_TEST

START_TEST(short_options_work)
{
    ck_assert_int_eq(PARSE(EVERYTHING, "-j", "-o", "out", "-iin"), 0);
    ck_assert(options.json);
    ck_assert_str_eq(options.output_path, "out");
    ck_assert_str_eq(options.input_path, "in");
}
END_TEST

START_TEST(a_negative_number_is_an_operand_in_every_place)
{
    ck_assert_int_eq(PARSE(EVERYTHING, "disk.img", "-1G", "--shrink"), 0);
    ck_assert_str_eq(options.operands[1], "-1G");
    ck_assert(options.shrink);
    ck_assert_int_eq(PARSE(EVERYTHING, "-1G", "disk.img"), 0);
    ck_assert_str_eq(options.operands[0], "-1G");
    ck_assert_str_eq(options.operands[1], "disk.img");
}
END_TEST

START_TEST(what_follows_two_dashes_is_operands)
{
    ck_assert_int_eq(PARSE(EVERYTHING, "--json", "--", "--hex", "-5"), 0);
    ck_assert(!options.hex);
    ck_assert_uint_eq(options.operand_count, 2);
    ck_assert_str_eq(options.operands[0], "--hex");
    ck_assert_str_eq(options.operands[1], "-5");
}
END_TEST

START_TEST(options_of_other_commands_are_refused)
{
    check_refused(PARSE(OPTIONS_GLOBAL, "--shrink"), "'--shrink'");
    check_refused(PARSE(EVERYTHING, "--nonsense"), "unknown option '--nonsense'");
    check_refused(PARSE(EVERYTHING, "--lenght=1"), "'--lenght=1'; did you mean '--length'?");
    check_refused(PARSE(OPTIONS_PING, "--lenght=1"), "unknown option '--lenght=1'");
    check_refused(PARSE(EVERYTHING, "--se", "1"), "option '--se' is ambiguous");
    check_refused(PARSE(EVERYTHING, "-x"), "'-x'");
}
END_TEST

START_TEST(an_option_keeps_its_meaning_in_its_group)
{
    ck_assert_int_eq(PARSE(OPTIONS_PING, "--count", "3"), 0);
    ck_assert_uint_eq(options.ping_count.value, 3);
    ck_assert(!options.count_sectors.given);
}
END_TEST

START_TEST(arguments_that_lack_or_are_too_many_are_refused)
{
    check_refused(PARSE(EVERYTHING, "--count"), "needs an argument");
    check_refused(PARSE(EVERYTHING, "--json=yes"), "takes no argument");
    check_refused(PARSE(EVERYTHING, "one", "two", "three"), "'three'");
}
END_TEST

START_TEST(numbers_that_are_none_are_refused_by_name)
{
    check_refused(PARSE(EVERYTHING, "--count", "many"), "--count many");
    check_refused(PARSE(EVERYTHING, "--offset", "99E"), "too large");
    check_refused(PARSE(EVERYTHING, "--sector-size", "4294967808"), "too large");
    check_refused(PARSE(EVERYTHING, "--sync", "often"), "--sync often");
    check_refused(PARSE(OPTIONS_PING, "--interval", "-1"), "--interval -1");
    check_refused(PARSE(OPTIONS_PING, "--interval", "nan"), "--interval nan");
}
END_TEST

START_TEST(intervals_are_fractions_of_seconds)
{
    ck_assert_int_eq(PARSE(OPTIONS_PING, "--interval", "0.25"), 0);
    ck_assert_uint_eq(options.interval_ms.value, 250);
}
END_TEST

START_TEST(leading_options_end_at_the_command)
{
    char *argv[] = {strdup("blkd-cli"), strdup("--socket"), strdup("/s"),
                    strdup("read"),     strdup("--json"),   NULL};
    int next = 0;

    options = (struct options)OPTIONS_INIT;
    ck_assert_int_eq(
        options_parse_leading(&options, OPTIONS_GLOBAL | OPTIONS_JSON, 5, argv, &next, &reason), 0);
    ck_assert_int_eq(next, 3);
    ck_assert_str_eq(options.socket_path, "/s");
    ck_assert(!options.json);
    ck_assert_int_eq(options_parse(&options, OPTIONS_JSON, 2, argv + 3, &reason), 0);
    ck_assert(options.json);
    ck_assert_str_eq(options.socket_path, "/s");
    for (int i = 0; i < 5; i++)
        free(argv[i]);
}
END_TEST

START_TEST(the_configuration_is_overridden_only_where_options_say_so)
{
    struct blkd_config config = {0};

    config.direct = true;
    config.sync = BLKD_SYNC_DRIVE;
    config.lock = true;
    config.sector_size = 4096;
    config.access = BLKD_ACCESS_READ_ONLY;
    ck_assert_int_eq(PARSE(EVERYTHING, "disk.img"), 0);
    options_apply(&options, &config);
    ck_assert(config.direct && config.lock);
    ck_assert_int_eq(config.sync, BLKD_SYNC_DRIVE);
    ck_assert_uint_eq(config.sector_size, 4096);
    ck_assert_int_eq(config.access, BLKD_ACCESS_READ_ONLY);
    ck_assert_int_eq(PARSE(EVERYTHING, "--buffered", "--sync", "none", "--read-write"), 0);
    options_apply(&options, &config);
    ck_assert(!config.direct);
    ck_assert_int_eq(config.sync, BLKD_SYNC_NONE);
    ck_assert_int_eq(config.access, BLKD_ACCESS_READ_WRITE);
    ck_assert_int_eq(PARSE(EVERYTHING, "--direct", "--read-only", "--sector-size=512"), 0);
    options_apply(&options, &config);
    ck_assert(config.direct);
    ck_assert_uint_eq(config.sector_size, 512);
    ck_assert_int_eq(config.access, BLKD_ACCESS_READ_ONLY);
}
END_TEST

static void check_range(uint64_t offset_bytes, uint64_t length_bytes)
{
    struct options_range range;

    ck_assert_int_eq(options_resolve_range(&options, 512, 4096, &range, &reason), 0);
    ck_assert_uint_eq(range.offset_bytes, offset_bytes);
    ck_assert_uint_eq(range.length_bytes, length_bytes);
}

START_TEST(a_range_reaches_to_the_end_unless_said_otherwise)
{
    ck_assert_int_eq(PARSE(EVERYTHING, "d"), 0);
    check_range(0, 4096);
    ck_assert_int_eq(PARSE(EVERYTHING, "--sector", "3"), 0);
    check_range(1536, 2560);
    ck_assert_int_eq(PARSE(EVERYTHING, "--offset", "100"), 0);
    check_range(100, 3996);
    ck_assert_int_eq(PARSE(EVERYTHING, "--sector", "1", "--count", "2"), 0);
    check_range(512, 1024);
    ck_assert_int_eq(PARSE(EVERYTHING, "--offset", "1K", "--length", "0"), 0);
    check_range(1024, 0);
    ck_assert_int_eq(PARSE(EVERYTHING, "--offset", "8K"), 0);
    check_range(8192, 0);
    ck_assert_int_eq(PARSE(EVERYTHING, "--offset", "8K", "--length", "1"), 0);
    check_range(8192, 1);
}
END_TEST

static void check_range_refused(const char *part)
{
    struct options_range range = {.offset_bytes = 7};

    check_refused(options_resolve_range(&options, 512, 4096, &range, &reason), part);
    ck_assert_uint_eq(range.offset_bytes, 7);
}

START_TEST(ranges_that_contradict_or_wrap_are_refused)
{
    ck_assert_int_eq(PARSE(EVERYTHING, "--sector", "1", "--offset", "512"), 0);
    check_range_refused("--sector and --offset");
    ck_assert_int_eq(PARSE(EVERYTHING, "--count", "1", "--length", "512"), 0);
    check_range_refused("--count and --length");
    ck_assert_int_eq(PARSE(EVERYTHING, "--sector", "15E"), 0);
    check_range_refused("do not fit in 64 bits");
    ck_assert_int_eq(PARSE(EVERYTHING, "--offset", "15E", "--length", "2E"), 0);
    check_range_refused("does not fit in 64 bits");
}
END_TEST

START_TEST(waiting_is_for_ever_or_so_long)
{
    ck_assert_int_eq(PARSE(OPTIONS_TAKE, "disk.img"), 0);
    ck_assert(!options.wait_ms.given);
    ck_assert_int_eq(PARSE(OPTIONS_TAKE, "--wait", "disk.img"), 0);
    ck_assert(options.wait_ms.given);
    ck_assert_uint_eq(options.wait_ms.value, OPTIONS_WAIT_FOREVER);
    ck_assert_str_eq(options.operands[0], "disk.img");
    ck_assert_int_eq(PARSE(OPTIONS_TAKE, "--wait=2.5", "disk.img"), 0);
    ck_assert_uint_eq(options.wait_ms.value, 2500);
    ck_assert_int_eq(PARSE(OPTIONS_TAKE, "-w3"), 0);
    ck_assert_uint_eq(options.wait_ms.value, 3000);
    ck_assert_int_eq(PARSE(OPTIONS_TAKE, "-w"), 0);
    ck_assert_uint_eq(options.wait_ms.value, OPTIONS_WAIT_FOREVER);
    check_refused(PARSE(OPTIONS_TAKE, "--wait=soon"), "--wait soon");
    /* Of another group the same name is another option. */
    ck_assert_int_eq(PARSE(OPTIONS_BREAK, "--wait", "4"), 0);
    ck_assert_uint_eq(options.wait_ms.value, 4000);
    ck_assert_int_eq(PARSE(OPTIONS_BREAK, "-w", "5"), 0);
    ck_assert_uint_eq(options.wait_ms.value, 5000);
    ck_assert_int_eq(PARSE(OPTIONS_WAIT, "--timeout", "0.25"), 0);
    ck_assert_uint_eq(options.wait_ms.value, 250);
}
END_TEST

START_TEST(range_of_a_lock_is_a_sector_and_how_many)
{
    ck_assert_int_eq(PARSE(OPTIONS_LOCK, "--range", "2K:0x10", "--shared"), 0);
    ck_assert(options.range.given && options.shared);
    ck_assert_uint_eq(options.range.first, 2048);
    ck_assert_uint_eq(options.range.count, 16);
    check_refused(PARSE(OPTIONS_LOCK, "--range", "5"), "SECTOR:COUNT");
    check_refused(PARSE(OPTIONS_LOCK, "--range", "5:"), "2048:8");
    check_refused(PARSE(OPTIONS_LOCK, "--range", ":5"), "2048:8");
    check_refused(PARSE(OPTIONS_LOCK, "--range", "5:0"), "2048:8");
    check_refused(PARSE(OPTIONS_LOCK, "--range", "00000000000000000000000000000001:5"),
                  "SECTOR:COUNT");
}
END_TEST

START_TEST(command_to_run_stands_behind_two_dashes)
{
    const unsigned int groups = OPTIONS_TAKE | OPTIONS_REST;

    ck_assert_int_eq(PARSE(groups, "disk.img", "--isolate", "--", "cp", "-a", "--wait"), 0);
    ck_assert(options.isolate && !options.wait_ms.given);
    ck_assert_uint_eq(options.operand_count, 1);
    ck_assert_uint_eq(options.rest_count, 3);
    ck_assert_str_eq(options.rest[0], "cp");
    ck_assert_str_eq(options.rest[2], "--wait");
    ck_assert_ptr_null(options.rest[3]);
    ck_assert_int_eq(PARSE(groups, "disk.img"), 0);
    ck_assert_uint_eq(options.rest_count, 0);
    ck_assert_int_eq(PARSE(groups, "disk.img", "--"), 0);
    ck_assert_uint_eq(options.rest_count, 0);
    ck_assert_int_eq(PARSE(groups, "--", "cp"), 0);
    ck_assert_uint_eq(options.operand_count, 0);
    ck_assert_uint_eq(options.rest_count, 1);
}
END_TEST

START_TEST(own_members_of_the_configuration_are_set)
{
    struct blkd_config config = {0};

    ck_assert_int_eq(PARSE(OPTIONS_DEVICE, "disk.img"), 0);
    config.purpose = "kept";
    config.strict = true;
    options_apply(&options, &config);
    ck_assert_str_eq(config.purpose, "kept");
    ck_assert(config.strict && !config.discard);
    config = (struct blkd_config){0};
    ck_assert_int_eq(PARSE(OPTIONS_DEVICE, "--strict", "--give-back", "--purpose", "backup"), 0);
    options_apply(&options, &config);
    ck_assert(config.strict && config.discard);
    ck_assert_str_eq(config.purpose, "backup");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli_options");
    TCase *tests = tcase_create("cli_options");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, options_and_operands_come_in_any_order);
    tcase_add_test(tests, short_options_work);
    tcase_add_test(tests, a_negative_number_is_an_operand_in_every_place);
    tcase_add_test(tests, what_follows_two_dashes_is_operands);
    tcase_add_test(tests, options_of_other_commands_are_refused);
    tcase_add_test(tests, an_option_keeps_its_meaning_in_its_group);
    tcase_add_test(tests, arguments_that_lack_or_are_too_many_are_refused);
    tcase_add_test(tests, numbers_that_are_none_are_refused_by_name);
    tcase_add_test(tests, intervals_are_fractions_of_seconds);
    tcase_add_test(tests, leading_options_end_at_the_command);
    tcase_add_test(tests, the_configuration_is_overridden_only_where_options_say_so);
    tcase_add_test(tests, a_range_reaches_to_the_end_unless_said_otherwise);
    tcase_add_test(tests, ranges_that_contradict_or_wrap_are_refused);
    tcase_add_test(tests, waiting_is_for_ever_or_so_long);
    tcase_add_test(tests, range_of_a_lock_is_a_sector_and_how_many);
    tcase_add_test(tests, command_to_run_stands_behind_two_dashes);
    tcase_add_test(tests, own_members_of_the_configuration_are_set);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
