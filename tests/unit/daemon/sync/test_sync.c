/* SPDX-License-Identifier: MIT */
/* The sync ledger, each rule of flushes by itself. test_sync_model.c tries them all together. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/unit/daemon/sync/fixture.h"
#include "tests/unit/suite.h"

static void expect_answered(const struct sync_waiter *first, const struct sync_waiter *second,
                            const struct sync_waiter *third)
{
    const struct sync_waiter *expected[] = {first, second, third};
    const struct sync_waiter *waiter = TAILQ_FIRST(&f.answered);

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]) && expected[i] != NULL; i++) {
        ck_assert_ptr_eq(waiter, expected[i]);
        waiter = TAILQ_NEXT(waiter, link);
    }
    ck_assert_ptr_null(waiter);
    TAILQ_INIT(&f.answered);
}

START_TEST(a_device_is_born_unsynced)
{
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_uint_eq(sync_unsynced_count(&f.ledger), 1);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, BORN_MS);
    ck_assert_uint_eq(f.ledger.last_sync_ms, 0);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!complete(0));
    expect_answered(&f.a, NULL, NULL);
    ck_assert(!sync_unsynced(&f.ledger));
}
END_TEST

START_TEST(a_device_that_failed_before_is_born_failed)
{
    sync_init_failed(&f.ledger, -ENOSPC, 3);
    ck_assert_int_eq(f.ledger.failed, -ENOSPC);
    ck_assert_uint_eq(f.ledger.failed_ms, 3);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, 3);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_FAILED);
    ck_assert_uint_eq(f.ledger.refused, 1);
    ck_assert_uint_eq(f.ledger.issued, 0);
    ck_assert(!f.ledger.running);
}
END_TEST

START_TEST(an_external_change_is_nobodys_and_makes_the_next_flush_sync)
{
    sync_born_unsynced(&f.ledger, NOW_MS);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_uint_eq(sync_unsynced_count(&f.ledger), 1);
    ck_assert_uint_eq(f.ledger.unsynced_since_ms, NOW_MS);
    ck_assert_uint_eq(sync_part_unsynced(&f.ledger, &f.mine, NULL), 0);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
}
END_TEST

START_TEST(an_external_change_during_a_sync_is_not_in_it)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_born_unsynced(&f.ledger, NOW_MS);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(complete(0));
    expect_answered(&f.a, NULL, NULL);
}
END_TEST

START_TEST(a_flush_with_nothing_to_flush_is_done_at_once)
{
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_DONE);
    ck_assert_uint_eq(f.ledger.asked, 1);
    ck_assert_uint_eq(f.ledger.elided, 1);
    ck_assert_uint_eq(f.ledger.issued, 0);
    ck_assert(!f.ledger.running);
}
END_TEST

START_TEST(a_change_makes_the_next_flush_sync)
{
    change();
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert_uint_eq(f.ledger.issued, 1);
}
END_TEST

START_TEST(a_flush_joins_the_running_sync_if_nothing_changed_since_it_began)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(!complete(0));
    expect_answered(&f.a, &f.b, NULL);
    ck_assert_uint_eq(f.ledger.issued, 1);
    ck_assert_uint_eq(f.ledger.shared, 1);
}
END_TEST

START_TEST(a_flush_after_a_later_change_waits_for_the_next_sync)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(complete(0));
    expect_answered(&f.a, NULL, NULL);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert(!complete(0));
    expect_answered(&f.b, NULL, NULL);
    ck_assert(!sync_unsynced(&f.ledger));
    ck_assert_uint_eq(f.ledger.issued, 2);
    ck_assert_uint_eq(f.ledger.shared, 0);
}
END_TEST

START_TEST(flushes_that_wait_share_one_next_sync)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.c), SYNC_WAIT);
    ck_assert(complete(0));
    expect_answered(&f.a, NULL, NULL);
    /* Nothing changed since the second sync began: one more may join it. */
    ck_assert_int_eq(sync_flush(&f.ledger, &f.d), SYNC_WAIT);
    ck_assert(!complete(0));
    expect_answered(&f.b, &f.c, &f.d);
    ck_assert_uint_eq(f.ledger.issued, 2);
    ck_assert_uint_eq(f.ledger.shared, 2);
    ck_assert_uint_eq(f.ledger.elided, 0);
    ck_assert_uint_eq(f.ledger.asked, 4);
}
END_TEST

START_TEST(a_change_during_a_sync_stays_unsynced)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change();
    ck_assert(!complete(0));
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_START);
}
END_TEST

START_TEST(answers_are_added_to_the_end_of_the_list)
{
    TAILQ_INSERT_TAIL(&f.answered, &f.d, link);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!complete(0));
    expect_answered(&f.d, &f.a, NULL);
}
END_TEST

START_TEST(a_failed_sync_fails_all_who_wait_and_the_device)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.c), SYNC_WAIT);
    ck_assert(!complete(-ENOSPC));
    expect_answered(&f.a, &f.b, &f.c);
    ck_assert_int_eq(f.ledger.failed, -ENOSPC);
    ck_assert(!f.ledger.running);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.d), SYNC_FAILED);
    ck_assert(sync_unsynced(&f.ledger));
    /* a's sync; b shared it; no sync began for c; d came too late. */
    ck_assert_uint_eq(f.ledger.asked, 4);
    ck_assert_uint_eq(f.ledger.issued, 1);
    ck_assert_uint_eq(f.ledger.shared, 1);
    ck_assert_uint_eq(f.ledger.refused, 2);
}
END_TEST

START_TEST(a_failed_device_refuses_a_flush_that_has_nothing_to_flush)
{
    sync_fail(&f.ledger, -EIO, NOW_MS);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_FAILED);
    ck_assert_uint_eq(f.ledger.elided, 0);
}
END_TEST

START_TEST(the_first_error_stays)
{
    sync_fail(&f.ledger, -EIO, NOW_MS);
    sync_fail(&f.ledger, -ENOSPC, NOW_MS + 1);
    ck_assert_int_eq(f.ledger.failed, -EIO);
    ck_assert_uint_eq(f.ledger.failed_ms, NOW_MS);
}
END_TEST

START_TEST(a_failure_while_a_sync_runs_fails_all_who_wait_though_it_succeeds)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    sync_fail(&f.ledger, -EIO, NOW_MS);
    ck_assert(!complete(0));
    expect_answered(&f.a, &f.b, NULL);
    ck_assert_int_eq(f.ledger.failed, -EIO);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_uint_eq(f.ledger.last_sync_ms, CLEAN_MS);
}
END_TEST

START_TEST(a_durable_change_on_a_clean_device_leaves_it_clean)
{
    sync_changed_durably(&f.ledger, &f.mine, NOW_MS);
    ck_assert(!sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_DONE);
}
END_TEST

START_TEST(a_durable_change_does_not_hide_an_earlier_one)
{
    change();
    sync_changed_durably(&f.ledger, &f.mine, NOW_MS);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
}
END_TEST

START_TEST(a_durable_change_during_a_sync_does_not_end_it)
{
    change();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_changed_durably(&f.ledger, &f.mine, NOW_MS);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(complete(0));
    expect_answered(&f.a, NULL, NULL);
    ck_assert(!complete(0));
    expect_answered(&f.b, NULL, NULL);
}
END_TEST

START_TEST(a_durable_change_on_a_failed_device_counts_for_nothing)
{
    sync_fail(&f.ledger, -EIO, NOW_MS);
    sync_changed_durably(&f.ledger, &f.mine, NOW_MS);
    ck_assert(sync_unsynced(&f.ledger));
}
END_TEST

#ifndef NDEBUG
/* Uses that only a mistake of ours could make stop the daemon. */
START_TEST(an_end_without_a_sync_aborts)
{
    (void)complete(0);
}
END_TEST

START_TEST(a_failure_without_an_error_aborts)
{
    sync_fail(&f.ledger, 0, NOW_MS);
}
END_TEST
#endif

static TCase *rules_of_a_new_device(void)
{
    TCase *rules = tcase_create("new");

    tcase_add_checked_fixture(rules, setup, NULL);
    tcase_add_test(rules, a_device_is_born_unsynced);
    tcase_add_test(rules, a_device_that_failed_before_is_born_failed);
#ifndef NDEBUG
    tcase_add_test_raise_signal(rules, an_end_without_a_sync_aborts, SIGABRT);
    tcase_add_test_raise_signal(rules, a_failure_without_an_error_aborts, SIGABRT);
#endif
    return rules;
}

static TCase *rules_of_a_clean_device(void)
{
    TCase *rules = tcase_create("clean");

    tcase_add_checked_fixture(rules, setup_clean, NULL);
    tcase_add_test(rules, an_external_change_is_nobodys_and_makes_the_next_flush_sync);
    tcase_add_test(rules, an_external_change_during_a_sync_is_not_in_it);
    tcase_add_test(rules, a_flush_with_nothing_to_flush_is_done_at_once);
    tcase_add_test(rules, a_change_makes_the_next_flush_sync);
    tcase_add_test(rules, a_flush_joins_the_running_sync_if_nothing_changed_since_it_began);
    tcase_add_test(rules, a_flush_after_a_later_change_waits_for_the_next_sync);
    tcase_add_test(rules, flushes_that_wait_share_one_next_sync);
    tcase_add_test(rules, a_change_during_a_sync_stays_unsynced);
    tcase_add_test(rules, answers_are_added_to_the_end_of_the_list);
    tcase_add_test(rules, a_failed_sync_fails_all_who_wait_and_the_device);
    tcase_add_test(rules, a_failed_device_refuses_a_flush_that_has_nothing_to_flush);
    tcase_add_test(rules, the_first_error_stays);
    tcase_add_test(rules, a_failure_while_a_sync_runs_fails_all_who_wait_though_it_succeeds);
    tcase_add_test(rules, a_durable_change_on_a_clean_device_leaves_it_clean);
    tcase_add_test(rules, a_durable_change_does_not_hide_an_earlier_one);
    tcase_add_test(rules, a_durable_change_during_a_sync_does_not_end_it);
    tcase_add_test(rules, a_durable_change_on_a_failed_device_counts_for_nothing);
    return rules;
}

int main(void)
{
    Suite *suite = suite_create("sync");

    suite_add_tcase(suite, rules_of_a_new_device());
    suite_add_tcase(suite, rules_of_a_clean_device());
    return suite_run(suite);
}
