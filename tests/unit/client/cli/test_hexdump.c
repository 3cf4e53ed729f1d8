/* SPDX-License-Identifier: MIT */
#include "client/cli/hexdump.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MEGABYTE = 1024 * 1024 };

/* Dumps `bytes` in pieces of `piece` bytes; the text is the caller's to free. */
static char *dump(const void *bytes, size_t length, uint64_t start, size_t piece)
{
    struct hexdump hexdump;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(out);
    hexdump_init(&hexdump, out, start, start + length);
    for (size_t at = 0; at < length; at += piece) {
        size_t take = length - at < piece ? length - at : piece;

        ck_assert_int_eq(hexdump_feed(&hexdump, (const uint8_t *)bytes + at, take), 0);
    }
    ck_assert_int_eq(hexdump_finish(&hexdump), 0);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

static void check_dump(const void *bytes, size_t length, uint64_t start, const char *expected)
{
    for (size_t piece = 1; piece <= length + 1; piece++) {
        char *text = dump(bytes, length, start, piece);

        ck_assert_str_eq(text, expected);
        free(text);
    }
}

START_TEST(nothing_in_nothing_out)
{
    check_dump("", 0, 0, "");
}
END_TEST

START_TEST(a_line_shows_address_bytes_and_characters)
{
    check_dump("\0\x01 ~\x7f\xff"
               "abcdefghij",
               16, 0,
               "00000000  00 01 20 7e 7f ff 61 62  63 64 65 66 67 68 69 6a  |.. ~..abcdefghij|\n"
               "00000010\n");
}
END_TEST

START_TEST(an_incomplete_line_keeps_its_columns)
{
    check_dump("0123456789", 10, 0,
               "00000000  30 31 32 33 34 35 36 37  38 39                    |0123456789|\n"
               "0000000a\n");
    check_dump("x", 1, 0,
               "00000000  78                                                |x|\n"
               "00000001\n");
}
END_TEST

START_TEST(equal_lines_are_squeezed_but_for_the_first)
{
    uint8_t bytes[16 * 6 + 3];

    memset(bytes, 0, sizeof(bytes));
    bytes[16 * 4] = 'A';
    check_dump(bytes, sizeof(bytes), 0,
               "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
               "*\n"
               "00000040  41 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |A...............|\n"
               "00000050  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
               "00000060  00 00 00                                          |...|\n"
               "00000063\n");
}
END_TEST

START_TEST(squeezing_up_to_the_end_is_ended_by_the_address)
{
    uint8_t bytes[64] = {0};

    check_dump(bytes, sizeof(bytes), 0,
               "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
               "*\n"
               "00000040\n");
}
END_TEST

START_TEST(addresses_are_offsets_of_the_device)
{
    check_dump("0123456789abcdef0", 17, 446,
               "000001be  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n"
               "000001ce  30                                                |0|\n"
               "000001cf\n");
}
END_TEST

START_TEST(addresses_widen_for_the_whole_dump_when_the_end_needs_it)
{
    check_dump("0123456789abcdef0", 17, UINT64_C(0xfffffff0),
               "0fffffff0  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n"
               "100000000  30                                                |0|\n"
               "100000001\n");
}
END_TEST

START_TEST(the_highest_addresses_have_sixteen_digits)
{
    check_dump("z", 1, UINT64_MAX - 16,
               "ffffffffffffffef  7a                                                |z|\n"
               "fffffffffffffff0\n");
}
END_TEST

START_TEST(a_megabyte_of_zeroes_is_three_lines)
{
    uint8_t *bytes = calloc(1, MEGABYTE);
    char *text;

    ck_assert_ptr_nonnull(bytes);
    text = dump(bytes, MEGABYTE, 0, 4096);
    ck_assert_str_eq(
        text, "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
              "*\n"
              "00100000\n");
    free(text);
    free(bytes);
}
END_TEST

START_TEST(a_full_output_is_an_error)
{
    uint8_t bytes[16] = {0};
    struct hexdump hexdump;
    FILE *out = fopen("/dev/full", "w");

    ck_assert_ptr_nonnull(out);
    (void)setvbuf(out, NULL, _IONBF, 0);
    hexdump_init(&hexdump, out, 0, sizeof(bytes));
    ck_assert_int_eq(hexdump_feed(&hexdump, bytes, sizeof(bytes)), -ENOSPC);
    (void)fclose(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli_hexdump");
    TCase *tests = tcase_create("cli_hexdump");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, nothing_in_nothing_out);
    tcase_add_test(tests, a_line_shows_address_bytes_and_characters);
    tcase_add_test(tests, an_incomplete_line_keeps_its_columns);
    tcase_add_test(tests, equal_lines_are_squeezed_but_for_the_first);
    tcase_add_test(tests, squeezing_up_to_the_end_is_ended_by_the_address);
    tcase_add_test(tests, addresses_are_offsets_of_the_device);
    tcase_add_test(tests, addresses_widen_for_the_whole_dump_when_the_end_needs_it);
    tcase_add_test(tests, the_highest_addresses_have_sixteen_digits);
    tcase_add_test(tests, a_megabyte_of_zeroes_is_three_lines);
    tcase_add_test(tests, a_full_output_is_an_error);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
