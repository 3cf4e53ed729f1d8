/* SPDX-License-Identifier: MIT */
#include "client/cli/size.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

enum { UNTOUCHED = 7 };

static uint64_t parsed(const char *text)
{
    uint64_t value = UNTOUCHED;

    ck_assert_msg(size_parse(text, &value) == 0, "%s was refused", text);
    return value;
}

static int refused(const char *text)
{
    uint64_t value = UNTOUCHED;
    int error = size_parse(text, &value);

    ck_assert_msg(error < 0, "%s was taken", text);
    ck_assert_uint_eq(value, UNTOUCHED);
    return error;
}

START_TEST(plain_numbers_are_bytes)
{
    ck_assert_uint_eq(parsed("0"), 0);
    ck_assert_uint_eq(parsed("4096"), 4096);
    ck_assert_uint_eq(parsed("010"), 10);
    ck_assert_uint_eq(parsed("18446744073709551615"), UINT64_MAX);
}
END_TEST

START_TEST(hexadecimal_as_a_dump_shows_addresses)
{
    ck_assert_uint_eq(parsed("0x1000"), 4096);
    ck_assert_uint_eq(parsed("0XfF"), 255);
    ck_assert_int_eq(refused("0x"), -EINVAL);
    ck_assert_int_eq(refused("0xg"), -EINVAL);
}
END_TEST

START_TEST(letters_and_binary_units_are_powers_of_1024)
{
    ck_assert_uint_eq(parsed("1k"), 1024);
    ck_assert_uint_eq(parsed("4K"), 4096);
    ck_assert_uint_eq(parsed("1KiB"), 1024);
    ck_assert_uint_eq(parsed("3M"), 3 * 1024 * 1024);
    ck_assert_uint_eq(parsed("2gib"), UINT64_C(2) << 30);
    ck_assert_uint_eq(parsed("1T"), UINT64_C(1) << 40);
    ck_assert_uint_eq(parsed("1P"), UINT64_C(1) << 50);
    ck_assert_uint_eq(parsed("15E"), UINT64_C(15) << 60);
}
END_TEST

START_TEST(decimal_units_are_powers_of_1000)
{
    ck_assert_uint_eq(parsed("1KB"), 1000);
    ck_assert_uint_eq(parsed("5MB"), 5000000);
    ck_assert_uint_eq(parsed("1tb"), UINT64_C(1000000000000));
}
END_TEST

START_TEST(what_is_no_size_is_refused)
{
    ck_assert_int_eq(refused(""), -EINVAL);
    ck_assert_int_eq(refused("K"), -EINVAL);
    ck_assert_int_eq(refused(" 1"), -EINVAL);
    ck_assert_int_eq(refused("-1"), -EINVAL);
    ck_assert_int_eq(refused("+1"), -EINVAL);
    ck_assert_int_eq(refused("1 K"), -EINVAL);
    ck_assert_int_eq(refused("1Kx"), -EINVAL);
    ck_assert_int_eq(refused("1KiBs"), -EINVAL);
    ck_assert_int_eq(refused("1Z"), -EINVAL);
    ck_assert_int_eq(refused("1.5G"), -EINVAL);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    ck_assert_int_eq(refused("18446744073709551616"), -ERANGE);
    ck_assert_int_eq(refused("16E"), -ERANGE);
    ck_assert_int_eq(refused("18014398509481984K"), -ERANGE);
    ck_assert_uint_eq(parsed("18014398509481983K"), UINT64_MAX - 1023);
}
END_TEST

static void check_format(uint64_t bytes, const char *expected)
{
    char text[SIZE_TEXT_MAX];

    size_format(bytes, text);
    ck_assert_str_eq(text, expected);
}

START_TEST(sizes_are_shown_with_the_largest_fitting_unit)
{
    check_format(0, "0 B");
    check_format(1023, "1023 B");
    check_format(1024, "1 KiB");
    check_format(1536, "1.5 KiB");
    check_format(1024 * 1024 - 1, "1023.9 KiB");
    check_format(1024 * 1024, "1 MiB");
    check_format(UINT64_C(10) << 30, "10 GiB");
    check_format(UINT64_C(3) << 39, "1.5 TiB");
    check_format(UINT64_MAX, "15.9 EiB");
}
END_TEST

START_TEST(relative_sizes_add_and_take_away)
{
    uint64_t bytes = 0;

    ck_assert_int_eq(size_parse_relative("1M", 4096, 1, &bytes), 0);
    ck_assert_uint_eq(bytes, 1024 * 1024);
    ck_assert_int_eq(size_parse_relative("+1K", 4096, 1, &bytes), 0);
    ck_assert_uint_eq(bytes, 5120);
    ck_assert_int_eq(size_parse_relative("-4K", 4096, 1, &bytes), 0);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_int_eq(size_parse_relative("+2", 4096, 512, &bytes), 0);
    ck_assert_uint_eq(bytes, 5120);
}
END_TEST

START_TEST(relative_sizes_do_not_wrap)
{
    uint64_t bytes = UNTOUCHED;

    ck_assert_int_eq(size_parse_relative("-4097", 4096, 1, &bytes), -ERANGE);
    ck_assert_int_eq(size_parse_relative("+15E", UINT64_C(2) << 60, 1, &bytes), -ERANGE);
    ck_assert_int_eq(size_parse_relative("15E", 0, 512, &bytes), -ERANGE);
    ck_assert_int_eq(size_parse_relative("+-1", 4096, 1, &bytes), -EINVAL);
    ck_assert_int_eq(size_parse_relative("+", 4096, 1, &bytes), -EINVAL);
    ck_assert_uint_eq(bytes, UNTOUCHED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli_size");
    TCase *tests = tcase_create("cli_size");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, plain_numbers_are_bytes);
    tcase_add_test(tests, hexadecimal_as_a_dump_shows_addresses);
    tcase_add_test(tests, letters_and_binary_units_are_powers_of_1024);
    tcase_add_test(tests, decimal_units_are_powers_of_1000);
    tcase_add_test(tests, what_is_no_size_is_refused);
    tcase_add_test(tests, what_does_not_fit_is_refused);
    tcase_add_test(tests, sizes_are_shown_with_the_largest_fitting_unit);
    tcase_add_test(tests, relative_sizes_add_and_take_away);
    tcase_add_test(tests, relative_sizes_do_not_wrap);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
