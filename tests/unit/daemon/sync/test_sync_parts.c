/* SPDX-License-Identifier: MIT */
/* What the sync ledger tells people: since when, how long, and which session's changes. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/daemon/sync/fixture.h"
#include "tests/unit/suite.h"

START_TEST(the_oldest_change_tells_since_when)
{
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 0);
    ck_assert_uint_eq(sync_unsynced_count(&f.ledger), 0);
    change_at(&f.mine, 100);
    change_at(&f.mine, 101);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 100);
    ck_assert_uint_eq(sync_unsynced_count(&f.ledger), 2);
}
END_TEST

START_TEST(after_a_sync_the_first_change_that_it_left_tells_since_when)
{
    change_at(&f.mine, 100);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change_at(&f.mine, 101);
    change_at(&f.mine, 102);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 100);
    ck_assert(!complete(0));
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 101);
    ck_assert_uint_eq(sync_unsynced_count(&f.ledger), 2);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_START);
    ck_assert(!complete(0));
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 0);
}
END_TEST

START_TEST(the_next_sync_forgets_when_the_last_one_was_overtaken)
{
    change_at(&f.mine, 100);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change_at(&f.mine, 101);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(complete(0));
    change_at(&f.mine, 102);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 101);
    ck_assert(!complete(0));
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 102);
}
END_TEST

START_TEST(the_last_and_the_longest_sync_are_known)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, 0, 200, 9000, &f.answered));
    ck_assert_uint_eq(f.ledger.last_sync_ms, 200);
    ck_assert_uint_eq(f.ledger.last_sync_us, 9000);
    ck_assert_uint_eq(f.ledger.longest_sync_us, 9000);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, 0, 300, 4000, &f.answered));
    ck_assert_uint_eq(f.ledger.last_sync_ms, 300);
    ck_assert_uint_eq(f.ledger.last_sync_us, 4000);
    ck_assert_uint_eq(f.ledger.longest_sync_us, 9000);
}
END_TEST

START_TEST(a_failed_sync_is_not_the_last_but_may_be_the_longest)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, -EIO, 300, 30000000, &f.answered));
    ck_assert_uint_eq(f.ledger.last_sync_ms, CLEAN_MS);
    ck_assert_uint_eq(f.ledger.last_sync_us, CLEAN_US);
    ck_assert_uint_eq(f.ledger.longest_sync_us, 30000000);
    ck_assert_uint_eq(f.ledger.failed_ms, 300);
}
END_TEST

static void expect_part(struct sync_part *part, uint64_t unsynced, uint64_t since_ms)
{
    uint64_t told_since_ms = UINT64_MAX;

    ck_assert_uint_eq(sync_part_unsynced(&f.ledger, part, &told_since_ms), unsynced);
    ck_assert_uint_eq(told_since_ms, since_ms);
    ck_assert_uint_eq(sync_part_unsynced(&f.ledger, part, NULL), unsynced);
}

START_TEST(each_part_counts_its_own_changes)
{
    change_at(&f.mine, 100);
    change_at(&f.other, 101);
    change_at(&f.other, 102);
    expect_part(&f.mine, 1, 100);
    expect_part(&f.other, 2, 101);
    sync_born_unsynced(&f.ledger, 103);
    expect_part(&f.mine, 1, 100);
    ck_assert_uint_eq(sync_unsynced_count(&f.ledger), 4);
}
END_TEST

START_TEST(a_sync_leaves_a_part_what_came_after_it_began)
{
    change_at(&f.mine, 100);
    change_at(&f.other, 101);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change_at(&f.mine, 102);
    change_at(&f.mine, 103);
    expect_part(&f.mine, 3, 100);
    ck_assert(!complete(0));
    expect_part(&f.mine, 2, 102);
    expect_part(&f.other, 0, 0);
}
END_TEST

START_TEST(a_part_that_nobody_asked_for_a_while_is_exact)
{
    change_at(&f.mine, 100);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change_at(&f.mine, 101);
    change_at(&f.other, 102);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(complete(0));
    /* The second sync runs; of the first nothing is left. */
    change_at(&f.mine, 103);
    expect_part(&f.mine, 2, 101);
    expect_part(&f.other, 1, 102);
    ck_assert(!complete(0));
    expect_part(&f.mine, 1, 103);
    expect_part(&f.other, 0, 0);
}
END_TEST

START_TEST(a_part_of_an_idle_session_is_exact_after_several_syncs)
{
    change_at(&f.mine, 100);
    for (int i = 0; i < 2; i++) {
        change_at(&f.other, 101);
        ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
        change_at(&f.other, 102);
        ck_assert(!complete(0));
        TAILQ_INIT(&f.answered);
    }
    expect_part(&f.mine, 0, 0);
    expect_part(&f.other, 1, 102);
}
END_TEST

START_TEST(a_failed_sync_leaves_all_parts_unsynced)
{
    change_at(&f.mine, 100);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change_at(&f.mine, 101);
    ck_assert(!complete(-EIO));
    expect_part(&f.mine, 2, 100);
    change_at(&f.mine, 102);
    expect_part(&f.mine, 3, 100);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 100);
}
END_TEST

START_TEST(a_durable_change_is_of_a_part_only_while_not_known_to_be_durable)
{
    sync_changed_durably(&f.ledger, &f.mine, 100);
    expect_part(&f.mine, 0, 0);
    change_at(&f.other, 101);
    sync_changed_durably(&f.ledger, &f.mine, 102);
    expect_part(&f.mine, 1, 102);
    expect_part(&f.other, 1, 101);
}
END_TEST

static TCase *rules_of_times(void)
{
    TCase *rules = tcase_create("times");

    tcase_add_checked_fixture(rules, setup_clean, NULL);
    tcase_add_test(rules, the_oldest_change_tells_since_when);
    tcase_add_test(rules, after_a_sync_the_first_change_that_it_left_tells_since_when);
    tcase_add_test(rules, the_next_sync_forgets_when_the_last_one_was_overtaken);
    tcase_add_test(rules, the_last_and_the_longest_sync_are_known);
    tcase_add_test(rules, a_failed_sync_is_not_the_last_but_may_be_the_longest);
    return rules;
}

static TCase *rules_of_parts(void)
{
    TCase *rules = tcase_create("parts");

    tcase_add_checked_fixture(rules, setup_clean, NULL);
    tcase_add_test(rules, each_part_counts_its_own_changes);
    tcase_add_test(rules, a_sync_leaves_a_part_what_came_after_it_began);
    tcase_add_test(rules, a_part_that_nobody_asked_for_a_while_is_exact);
    tcase_add_test(rules, a_part_of_an_idle_session_is_exact_after_several_syncs);
    tcase_add_test(rules, a_failed_sync_leaves_all_parts_unsynced);
    tcase_add_test(rules, a_durable_change_is_of_a_part_only_while_not_known_to_be_durable);
    return rules;
}

int main(void)
{
    Suite *suite = suite_create("sync_parts");

    suite_add_tcase(suite, rules_of_times());
    suite_add_tcase(suite, rules_of_parts());
    return suite_run(suite);
}
