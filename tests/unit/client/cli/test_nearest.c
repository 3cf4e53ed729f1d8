/* SPDX-License-Identifier: MIT */
#include "client/cli/nearest.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *find(const char *word)
{
    static const char *const candidates[] = {"info", "read", "length", "session evict",
                                             "abcdefghijklmnopqrstuvwxyzabcdefghijklmno"};
    struct nearest nearest;

    nearest_init(&nearest, word, strlen(word));
    for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++)
        nearest_offer(&nearest, candidates[i]);
    return nearest.best;
}

START_TEST(typing_errors_are_seen_through)
{
    ck_assert_pstr_eq(find("inof"), "info");
    ck_assert_pstr_eq(find("inf"), "info");
    ck_assert_pstr_eq(find("infoo"), "info");
    ck_assert_pstr_eq(find("rexd"), "read");
    ck_assert_pstr_eq(find("lenght"), "length");
    ck_assert_pstr_eq(find("legnht"), "length");
    ck_assert_pstr_eq(find("session evcit"), "session evict");
    ck_assert_pstr_eq(find("read"), "read");
}
END_TEST

START_TEST(another_word_is_not_a_typing_error)
{
    ck_assert_ptr_null(find("frobnicate"));
    ck_assert_ptr_null(find("ifno!"));
    ck_assert_ptr_null(find("x"));
    ck_assert_ptr_null(find(""));
    ck_assert_ptr_null(find("abcdefghijklmnopqrstuvwxyzabcdefghijklmn"));
}
END_TEST

START_TEST(only_the_given_length_counts)
{
    struct nearest nearest;

    nearest_init(&nearest, "lenght=5", 6);
    nearest_offer(&nearest, "length");
    ck_assert_pstr_eq(nearest.best, "length");
    ck_assert_uint_eq(nearest.best_errors, 1);
}
END_TEST

static Suite *nearest_suite(void)
{
    Suite *suite = suite_create("cli_nearest");
    TCase *tests = tcase_create("nearest");

    tcase_add_test(tests, typing_errors_are_seen_through);
    tcase_add_test(tests, another_word_is_not_a_typing_error);
    tcase_add_test(tests, only_the_given_length_counts);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(nearest_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
