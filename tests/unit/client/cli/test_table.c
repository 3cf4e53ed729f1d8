/* SPDX-License-Identifier: MIT */
#include "client/cli/table.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/text.h"

enum column {
    COLUMN_PATH,
    COLUMN_SIZE,
    COLUMN_BUSY,
    COLUMN_PEOPLE,
    COLUMN_MACHINES,
    COLUMNS,
};

static const struct table_column DESCRIPTION[COLUMNS] = {
    [COLUMN_PATH] = {"path", "PATH", TABLE_TEXT},
    [COLUMN_SIZE] = {"size_bytes", "SIZE", TABLE_BYTES},
    [COLUMN_BUSY] = {"busy", "BUSY", TABLE_BOOL},
    [COLUMN_PEOPLE] = {NULL, "AGE", TABLE_TEXT},
    [COLUMN_MACHINES] = {"age_seconds", NULL, TABLE_NUMBER},
};

static char *print(const struct table *table)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(table_print(table, out), 0);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

static struct table *make(enum table_form form, size_t rows)
{
    struct table *table = table_new("things", DESCRIPTION, COLUMNS, form);

    ck_assert_ptr_nonnull(table);
    for (size_t i = 0; i < rows; i++) {
        table_add_row(table);
        table_set_text(table, COLUMN_PATH, i == 0 ? "/a \"b\"\n" : "/c");
        table_set_number(table, COLUMN_SIZE, i == 0 ? 1536 : 0);
        table_set_bool(table, COLUMN_BUSY, i == 0);
        table_set_format(table, COLUMN_PEOPLE, "%zum", i);
        if (i == 0)
            table_set_number(table, COLUMN_MACHINES, 60);
    }
    return table;
}

static void check_print(enum table_form form, size_t rows, const char *expected)
{
    struct table *table = make(form, rows);
    char *text = print(table);

    ck_assert_str_eq(text, expected);
    free(text);
    ck_assert_ptr_null(table_free(table));
}

START_TEST(rows_are_under_headings)
{
    check_print(TABLE_ROWS, 2,
                "PATH          SIZE BUSY AGE\n"
                "/a \"b\"\\x0a 1.5 KiB yes  0m\n"
                "/c             0 B no   1m\n");
}
END_TEST

START_TEST(a_record_is_a_line_for_each_cell)
{
    check_print(TABLE_RECORD, 1,
                "PATH /a \"b\"\\x0a\n"
                "SIZE 1.5 KiB\n"
                "BUSY yes\n"
                "AGE  0m\n");
}
END_TEST

START_TEST(json_has_types_and_null)
{
    check_print(TABLE_JSON, 2,
                "{\n"
                "   \"things\": [\n"
                "      {\n"
                "         \"path\": \"/a \\\"b\\\"\\n\",\n"
                "         \"size_bytes\": 1536,\n"
                "         \"busy\": true,\n"
                "         \"age_seconds\": 60\n"
                "      },{\n"
                "         \"path\": \"/c\",\n"
                "         \"size_bytes\": 0,\n"
                "         \"busy\": false,\n"
                "         \"age_seconds\": null\n"
                "      }\n"
                "   ]\n"
                "}\n");
}
END_TEST

START_TEST(nothing_is_nothing_but_valid_json)
{
    check_print(TABLE_ROWS, 0, "");
    check_print(TABLE_JSON, 0, "{\n   \"things\": [\n\n   ]\n}\n");
}
END_TEST

START_TEST(many_rows_stay_in_order)
{
    struct table *table = table_new("n", DESCRIPTION, COLUMNS, TABLE_ROWS);
    char *text;
    char *at;

    for (unsigned int i = 0; i < 1000; i++) {
        table_add_row(table);
        table_set_format(table, COLUMN_PATH, "row%u;", i);
    }
    text = print(table);
    at = text;
    for (unsigned int i = 0; i < 1000; i++) {
        char row[16];

        (void)snprintf(row, sizeof(row), "row%u;", i);
        at = strstr(at, row);
        ck_assert_msg(at != NULL, "no %s", row);
    }
    free(text);
    table_free(table);
}
END_TEST

static void check_escape(const char *from, enum text_rule rule, const char *expected)
{
    char *text = text_escape(from, rule);

    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(control_characters_do_not_reach_a_terminal)
{
    check_escape("a\033[2Jb\x7f\n", TEXT_TERMINAL, "a\\x1b[2Jb\\x7f\\x0a");
    check_escape("\xc2\x9b", TEXT_TERMINAL, "\\xc2\\x9b"); /* CSI as U+009B */
    check_escape("a\033b\n", TEXT_JSON, "a\033b\n");
    check_escape("\xc2\x9b\x7f", TEXT_JSON, "\\xc2\\x9b\\x7f");
}
END_TEST

START_TEST(marks_of_direction_do_not_turn_a_name_around)
{
    static const char name[] = "a\xe2\x80\xaegmi.\xe2\x80\xac\xe2\x81\xa6x\xe2\x81\xa9";
    static const char shown[] =
        "a\\xe2\\x80\\xaegmi.\\xe2\\x80\\xac\\xe2\\x81\\xa6x\\xe2\\x81\\xa9";

    check_escape(name, TEXT_TERMINAL, shown);
    check_escape(name, TEXT_JSON, shown);
}
END_TEST

START_TEST(utf8_stays_and_what_is_none_is_escaped)
{
    check_escape("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x92\xbe", TEXT_TERMINAL,
                 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x92\xbe");
    check_escape("\xff", TEXT_JSON, "\\xff");
    check_escape("\xc3", TEXT_JSON, "\\xc3");                            /* cut short */
    check_escape("\xc0\xaf", TEXT_JSON, "\\xc0\\xaf");                   /* overlong */
    check_escape("\xed\xa0\x80", TEXT_JSON, "\\xed\\xa0\\x80");          /* surrogate */
    check_escape("\xf4\x90\x80\x80", TEXT_JSON, "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
}
END_TEST

START_TEST(an_escape_in_the_text_itself_is_told_apart)
{
    check_escape("\\x41", TEXT_TERMINAL, "\\x5cx41");
    check_escape("C:\\cygwin", TEXT_JSON, "C:\\cygwin");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli_table");
    TCase *tests = tcase_create("cli_table");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, rows_are_under_headings);
    tcase_add_test(tests, a_record_is_a_line_for_each_cell);
    tcase_add_test(tests, json_has_types_and_null);
    tcase_add_test(tests, nothing_is_nothing_but_valid_json);
    tcase_add_test(tests, many_rows_stay_in_order);
    tcase_add_test(tests, control_characters_do_not_reach_a_terminal);
    tcase_add_test(tests, marks_of_direction_do_not_turn_a_name_around);
    tcase_add_test(tests, utf8_stays_and_what_is_none_is_escaped);
    tcase_add_test(tests, an_escape_in_the_text_itself_is_told_apart);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
