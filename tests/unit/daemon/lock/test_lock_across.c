/* SPDX-License-Identifier: MIT */
/*
 * The rules of locks that reach beyond one device's queue: deadlocks, devices that share bytes,
 * locks that were broken.
 */
#include "tests/unit/daemon/lock/fixture.h"

#include <errno.h>

START_TEST(second_upgrader_is_a_deadlock)
{
    struct lock *blocker = NULL;

    uint64_t order;

    take(&one, &a, bytes(0, 9), LOCK_SHARED);
    take(&two, &b, bytes(9, 19), LOCK_SHARED);
    order = two.order;
    ck_assert_int_eq(lock_upgrade(&one, false, true, NULL), LOCK_QUEUED);
    ck_assert_int_eq(lock_upgrade(&two, true, true, &blocker), LOCK_DEADLOCK);
    ck_assert_ptr_eq(blocker, &one);
    ck_assert_int_eq(two.held, LOCK_SHARED);
    ck_assert_int_eq(two.phase, LOCK_SETTLED);
    ck_assert_uint_eq(two.order, order);
    lock_release(&two, &woken);
    assert_woken(&one);
}
END_TEST

/* Two threads with a session each on one connection. */
START_TEST(sessions_of_one_party_wait_for_each_other)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&two, &a2, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(lock_upgrade(&one, false, false, NULL), LOCK_GRANTED);
}
END_TEST

START_TEST(two_upgraders_of_one_party_are_a_deadlock)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    take(&two, &a2, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_upgrade(&one, false, true, NULL), LOCK_QUEUED);
    ck_assert_int_eq(lock_upgrade(&two, false, true, NULL), LOCK_DEADLOCK);
}
END_TEST

START_TEST(sessions_of_one_party_queue_behind_each_other)
{
    take(&one, &b, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask(&two, &a, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &a2, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
}
END_TEST

START_TEST(deadlock_over_three_devices_is_refused)
{
    struct lock_owner a_disk, b_partition, c_table;
    struct lock *blocker = NULL;

    lock_owner_init(&a_disk, &party_a);
    lock_owner_init(&b_partition, &party_b);
    lock_owner_init(&c_table, &party_c);
    take_on(&table, &one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    take_on(&disk, &two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE);
    take_on(&partition, &three, &c, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask_on(&disk, &four, &a_disk, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(ask_on(&partition, &five, &b_partition, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    {
        struct lock last = {0};

        ck_assert_int_eq(
            lock_request(&table, &last, &c_table, LOCK_WHOLE, LOCK_SHARED, false, true, &blocker),
            LOCK_DEADLOCK);
        ck_assert_ptr_eq(blocker, &one);
        ck_assert(TAILQ_EMPTY(&c_table.locks));
        /* without the middle link there is none */
        lock_cancel(&five, &woken);
        ck_assert_int_eq(ask(&last, &c_table, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    }
}
END_TEST

START_TEST(two_requests_of_one_owner_are_no_deadlock)
{
    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &b, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
}
END_TEST

/* b's reader on `table` waits for c alone; b has the disk, for which a waits; a's reader would
 * become a writer at once, and b would wait for it. */
START_TEST(upgrade_that_closes_a_circle_is_refused_though_it_need_not_wait)
{
    struct lock_owner b_disk;
    struct lock *blocker = NULL;

    lock_owner_init(&b_disk, &party_b);
    take_on(&disk, &one, &b_disk, LOCK_WHOLE, LOCK_EXCLUSIVE);
    take(&two, &c, bytes(0, 9), LOCK_EXCLUSIVE);
    take(&three, &a, bytes(50, 59), LOCK_SHARED);
    ck_assert_int_eq(ask(&four, &b, bytes(0, 59), LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(ask_on(&disk, &five, &on_disk, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(lock_upgrade(&three, true, true, &blocker), LOCK_DEADLOCK);
    ck_assert_ptr_eq(blocker, &one);
    ck_assert_int_eq(three.phase, LOCK_SETTLED);
    ck_assert_int_eq(three.held, LOCK_SHARED);
    lock_release(&two, &woken);
    assert_woken(&four);
}
END_TEST

START_TEST(related_tables_conflict_whatever_the_ranges)
{
    const struct lock *blocker = &five;
    struct lock *in_the_way = NULL;

    ck_assert_int_eq(lock_relate(&disk, &partition), 0);
    ck_assert_int_eq(lock_relate(&partition, &disk), 0);
    take_on(&disk, &one, &on_disk, bytes(0, 9), LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, bytes(90, 99), &blocker), -EBUSY);
    ck_assert_ptr_null(blocker);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, bytes(90, 99), NULL), -EBUSY);
    ck_assert_int_eq(lock_may_read(&partition, &on_partition, bytes(90, 99), NULL), 0);
    ck_assert_int_eq(lock_request(&partition, &two, &on_partition, bytes(90, 99), LOCK_EXCLUSIVE,
                                  false, false, &in_the_way),
                     LOCK_BUSY);
    ck_assert_ptr_eq(in_the_way, &one);
    ck_assert_int_eq(ask_on(&partition, &two, &on_partition, bytes(90, 99), LOCK_SHARED),
                     LOCK_GRANTED);
    lock_release(&one, &woken);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, LOCK_WHOLE, NULL), 0);
    /* the other way round, and by a request that only waits */
    lock_hold(&two);
    ck_assert_int_eq(ask_on(&disk, &three, &on_disk, bytes(0, 0), LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(ask_on(&partition, &four, &c, bytes(0, 0), LOCK_SHARED), LOCK_QUEUED);
    lock_release(&two, &woken);
    assert_woken(&three);
    lock_hold(&three);
    ck_assert_int_eq(lock_table_held(&partition), LOCK_NONE);
    lock_downgrade(&three, &woken);
    assert_woken(&four);
}
END_TEST

START_TEST(isolation_reaches_related_tables)
{
    ck_assert_int_eq(lock_relate(&disk, &partition), 0);
    ck_assert_int_eq(
        lock_request(&disk, &one, &on_disk, bytes(0, 9), LOCK_EXCLUSIVE, true, false, NULL),
        LOCK_GRANTED);
    lock_hold(&one);
    ck_assert_int_eq(lock_may_read(&partition, &on_partition, bytes(90, 99), NULL), -EBUSY);
    lock_downgrade(&one, &woken);
    ck_assert_int_eq(lock_may_read(&partition, &on_partition, bytes(90, 99), NULL), 0);
}
END_TEST

START_TEST(relating_counts_what_is_held_already)
{
    take_on(&disk, &one, &on_disk, LOCK_WHOLE, LOCK_EXCLUSIVE);
    take_on(&partition, &two, &on_partition, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_relate(&disk, &partition), 0);
    ck_assert_int_eq(lock_may_change(&disk, &on_disk, LOCK_WHOLE, NULL), -EBUSY);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, LOCK_WHOLE, NULL), -EBUSY);
    lock_release(&one, &woken);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, LOCK_WHOLE, NULL), 0);
}
END_TEST

START_TEST(unrelated_again_tables_do_not_conflict)
{
    ck_assert_int_eq(lock_relate(&disk, &table), 0);
    ck_assert_int_eq(lock_relate(&disk, &partition), 0);
    ck_assert_int_eq(lock_relate(&table, &partition), 0);
    take_on(&partition, &one, &on_partition, LOCK_WHOLE, LOCK_EXCLUSIVE);
    lock_unrelate(&disk);
    ck_assert_int_eq(lock_may_change(&disk, &on_disk, LOCK_WHOLE, NULL), 0);
    take_on(&disk, &two, &on_disk, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &a, LOCK_WHOLE, NULL), -EBUSY);
}
END_TEST

START_TEST(relations_have_a_bound)
{
    static struct lock_table many[LOCK_RELATED_MAX];

    for (int i = 0; i < LOCK_RELATED_MAX; i++) {
        lock_table_init(&many[i], &space);
        ck_assert_int_eq(lock_relate(&many[i], &disk), 0);
    }
    ck_assert_int_eq(lock_relate(&disk, &partition), -EDQUOT);
    ck_assert_int_eq(lock_relate(&partition, &disk), -EDQUOT);
    ck_assert_int_eq(lock_relate(&disk, &many[LOCK_RELATED_MAX - 1]), 0);
    take_on(&disk, &one, &on_disk, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&partition, &on_partition, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_change(&many[LOCK_RELATED_MAX - 1], &a, LOCK_WHOLE, NULL), -EBUSY);
}
END_TEST

START_TEST(owner_whose_lock_was_broken_cannot_write_until_it_took_notice)
{
    const struct lock *blocker = &five;

    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    lock_break(&a);
    lock_release(&one, &woken);
    take(&two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_change(&table, &a, LOCK_WHOLE, &blocker), -ESTALE);
    ck_assert_ptr_eq(blocker, &five);
    ck_assert_int_eq(lock_may_read(&table, &a, LOCK_WHOLE, NULL), 0);
    lock_forgive(&a);
    ck_assert_int_eq(lock_may_change(&table, &a, LOCK_WHOLE, &blocker), -EBUSY);
}
END_TEST

int main(void)
{
    TCase *rules = tcase_create("rules");

    tcase_add_test(rules, second_upgrader_is_a_deadlock);
    tcase_add_test(rules, sessions_of_one_party_wait_for_each_other);
    tcase_add_test(rules, two_upgraders_of_one_party_are_a_deadlock);
    tcase_add_test(rules, sessions_of_one_party_queue_behind_each_other);
    tcase_add_test(rules, deadlock_over_three_devices_is_refused);
    tcase_add_test(rules, two_requests_of_one_owner_are_no_deadlock);
    tcase_add_test(rules, upgrade_that_closes_a_circle_is_refused_though_it_need_not_wait);
    tcase_add_test(rules, related_tables_conflict_whatever_the_ranges);
    tcase_add_test(rules, isolation_reaches_related_tables);
    tcase_add_test(rules, relating_counts_what_is_held_already);
    tcase_add_test(rules, unrelated_again_tables_do_not_conflict);
    tcase_add_test(rules, relations_have_a_bound);
    tcase_add_test(rules, owner_whose_lock_was_broken_cannot_write_until_it_took_notice);
    return run_rules("lock_across", rules);
}
