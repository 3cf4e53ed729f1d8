/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "tests/unit/suite.h"

static const struct {
    const char *in;
    const char *out;
} cases[] = {
    {"", ""},
    {"/srv/a.img", "/srv/a.img"},
    {"/srv/gr\xc3\xbc\xc3\x9f"
     "e \xe2\x82\xac \xf0\x9f\x92\xbe",
     "/srv/gr\xc3\xbc\xc3\x9f"
     "e \xe2\x82\xac \xf0\x9f\x92\xbe"},
    {"a\xff"
     "b",
     "a?b"},
    {"lone \x80 continuation", "lone ? continuation"},
    {"cut short \xe2\x82", "cut short ??"},
    {"overlong \xc0\xaf", "overlong ??"},
    {"surrogate \xed\xa0\x80", "surrogate ???"},
    {"beyond \xf4\x90\x80\x80", "beyond ????"},
    {"line\nbreak\x7f", "line?break?"},
};

START_TEST(only_well_formed_utf8_is_left)
{
    char text[64];
    (void)strcpy(text, cases[_i].in);
    text_make_utf8(text);
    ck_assert_str_eq(text, cases[_i].out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tcase = tcase_create("utf8");
    tcase_add_loop_test(tcase, only_well_formed_utf8_is_left, 0, sizeof(cases) / sizeof(cases[0]));
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
