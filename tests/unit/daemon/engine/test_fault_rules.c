/* SPDX-License-Identifier: MIT */
#include "daemon/engine/fault_rules.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

static struct fault_rules rules;

static void parse(const char *text)
{
    ck_assert_msg(fault_rules_parse(text, &rules) == 0, "refused: %s", text);
}

static struct fault_outcome next(enum fault_op op)
{
    return fault_rules_next(&rules, op, 0, 4096);
}

START_TEST(the_nth_operation_fails)
{
    parse("write@3=EIO");
    for (int i = 1; i <= 6; i++) {
        ck_assert_int_eq(next(FAULT_READ).error, 0);
        ck_assert_int_eq(next(FAULT_WRITE).error, i == 3 ? -EIO : 0);
    }
}
END_TEST

START_TEST(all_from_the_nth_fail)
{
    parse("any@3+=ENOSPC");
    for (int i = 1; i <= 6; i++)
        ck_assert_int_eq(next(i % 2 ? FAULT_READ : FAULT_WRITE).error, i >= 3 ? -ENOSPC : 0);
}
END_TEST

START_TEST(each_nth_is_short)
{
    parse("read%4=short");
    for (int i = 1; i <= 12; i++)
        ck_assert_uint_eq(next(FAULT_READ).limit_bytes, i % 4 == 0 ? 2048 : 0);
}
END_TEST

START_TEST(half_is_whole_512_bytes_or_not_at_all)
{
    parse("any=short");
    ck_assert_uint_eq(fault_rules_next(&rules, FAULT_READ, 0, 512).limit_bytes, 0);
    ck_assert_uint_eq(fault_rules_next(&rules, FAULT_READ, 0, 1024).limit_bytes, 512);
    ck_assert_uint_eq(fault_rules_next(&rules, FAULT_READ, 0, 3 * 512).limit_bytes, 512);
}
END_TEST

START_TEST(a_limit_above_the_length_is_none)
{
    parse("any=short:1K");
    ck_assert_uint_eq(fault_rules_next(&rules, FAULT_READ, 0, 1024).limit_bytes, 0);
    ck_assert_uint_eq(fault_rules_next(&rules, FAULT_READ, 0, 1025).limit_bytes, 1024);
}
END_TEST

static bool struck(uint64_t offset_bytes, size_t length_bytes)
{
    return fault_rules_next(&rules, FAULT_WRITE, offset_bytes, length_bytes).error != 0;
}

START_TEST(a_range_strikes_what_touches_it)
{
    parse("write[4K-8191]=EIO");
    ck_assert(!struck(0, 4096));
    ck_assert(struck(0, 4097));
    ck_assert(struck(4096, 512));
    ck_assert(struck(8191, 1));
    ck_assert(!struck(8192, 512));
    ck_assert(struck(0, 1 << 20));
    ck_assert(!struck(5000, 0));
}
END_TEST

START_TEST(a_range_counts_its_own_operations)
{
    parse("write[4K-8191]@2=EIO");
    ck_assert(!struck(0, 512));
    ck_assert(!struck(4096, 512));
    ck_assert(!struck(0, 512));
    ck_assert(struck(4096, 512));
}
END_TEST

static unsigned int strikes_of_thousand(const char *text)
{
    unsigned int count = 0;

    parse(text);
    for (int i = 0; i < 1000; i++)
        count += next(FAULT_WRITE).error != 0;
    return count;
}

START_TEST(chance_strikes_its_part_and_the_same_each_time)
{
    unsigned int some = strikes_of_thousand("write~20=EIO");

    ck_assert_uint_ge(some, 120);
    ck_assert_uint_le(some, 280);
    ck_assert_uint_eq(strikes_of_thousand("write~20=EIO"), some);
    ck_assert_uint_eq(strikes_of_thousand("write~100=EIO"), 1000);
}
END_TEST

START_TEST(delays_add_up_and_the_first_failure_counts)
{
    parse("any=delay:20ms,write=delay:5us,write=EIO,any=ENOSPC,any=delay:1s");
    struct fault_outcome outcome = next(FAULT_WRITE);

    ck_assert_uint_eq(outcome.delay_us, 1020005);
    ck_assert_int_eq(outcome.error, -EIO);
    ck_assert_int_eq(next(FAULT_READ).error, -ENOSPC);
}
END_TEST

START_TEST(a_sync_has_rules_of_its_own)
{
    parse("sync@2=EIO,sync=delay:5ms,any[0-4K]=ENOSPC,any=short");
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(next(FAULT_WRITE).error, -ENOSPC);
        struct fault_outcome outcome = fault_rules_next(&rules, FAULT_SYNC, 0, 0);

        ck_assert_int_eq(outcome.error, i == 2 ? -EIO : 0);
        ck_assert_uint_eq(outcome.delay_us, 5000);
        ck_assert_uint_eq(outcome.limit_bytes, 0);
    }
}
END_TEST

START_TEST(a_rule_for_syncs_strikes_nothing_else)
{
    parse("sync=EIO");
    ck_assert_int_eq(next(FAULT_READ).error, 0);
    ck_assert_int_eq(next(FAULT_WRITE).error, 0);
}
END_TEST

START_TEST(what_is_no_rule_is_refused)
{
    static const char *const wrong[] = {
        "",
        "write",
        "write=",
        "write=EI",
        "write=EIOX",
        "write=eio",
        "wr=EIO",
        "write@=EIO",
        "write@0=EIO",
        "write@-1=EIO",
        "write@3",
        "write~101=EIO",
        "write%0=EIO",
        "write=EIO,",
        ",write=EIO",
        "write=EIO write=EIO",
        "write[5-4]=EIO",
        "write[5]=EIO",
        "write[5-6=EIO",
        "write=delay:",
        "write=delay:5",
        "write=delay:5m",
        "write=delay:99999999999999999999s",
        "write=delay:18446744073709551615s",
        "write=short:",
        "write=short:0",
        "write=shortest",
        "sync[0-4K]=EIO",
        "sync=short",
        "sync=short:4K",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        memset(&rules, 0x5a, sizeof(rules));
        struct fault_rules before = rules;
        ck_assert_msg(fault_rules_parse(wrong[i], &rules) == -EINVAL, "taken: '%s'", wrong[i]);
        ck_assert_mem_eq(&rules, &before, sizeof(rules));
    }
}
END_TEST

START_TEST(too_many_rules_are_refused)
{
    char text[(FAULT_RULES_MAX + 1) * sizeof("any=EIO,")] = "any=EIO";

    for (int i = 1; i < FAULT_RULES_MAX; i++)
        strcat(text, ",any=EIO");
    parse(text);
    strcat(text, ",any=EIO");
    ck_assert_int_eq(fault_rules_parse(text, &rules), -E2BIG);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fault rules");
    TCase *tests = tcase_create("fault rules");

    tcase_add_test(tests, the_nth_operation_fails);
    tcase_add_test(tests, all_from_the_nth_fail);
    tcase_add_test(tests, each_nth_is_short);
    tcase_add_test(tests, half_is_whole_512_bytes_or_not_at_all);
    tcase_add_test(tests, a_limit_above_the_length_is_none);
    tcase_add_test(tests, a_range_strikes_what_touches_it);
    tcase_add_test(tests, a_range_counts_its_own_operations);
    tcase_add_test(tests, chance_strikes_its_part_and_the_same_each_time);
    tcase_add_test(tests, delays_add_up_and_the_first_failure_counts);
    tcase_add_test(tests, a_sync_has_rules_of_its_own);
    tcase_add_test(tests, a_rule_for_syncs_strikes_nothing_else);
    tcase_add_test(tests, what_is_no_rule_is_refused);
    tcase_add_test(tests, too_many_rules_are_refused);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
