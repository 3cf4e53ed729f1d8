/* SPDX-License-Identifier: MIT */
/*
 * The rules of locks on one device, one by one; test_lock_across.c has those that reach further,
 * and test_lock_model.c tries them together.
 */
#include "tests/unit/daemon/lock/fixture.h"

#include <errno.h>
#include <signal.h>

START_TEST(nothing_is_locked_at_first)
{
    const struct lock *blocker = &five;

    ck_assert_int_eq(lock_table_mode(&table), LOCK_NONE);
    ck_assert_int_eq(lock_table_held(&table), LOCK_NONE);
    ck_assert_int_eq(lock_owner_held(&a), LOCK_NONE);
    ck_assert_ptr_null(lock_owner_find(&a, LOCK_WHOLE));
    ck_assert_int_eq(lock_may_read(&table, &a, LOCK_WHOLE, &blocker), 0);
    ck_assert_int_eq(lock_may_change(&table, &a, LOCK_WHOLE, &blocker), 0);
    ck_assert_ptr_eq(blocker, &five);
}
END_TEST

START_TEST(reserved_keeps_requests_out_but_not_transfers)
{
    struct lock *blocker = NULL;

    ck_assert_int_eq(lock_request(&table, &one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE, true, false, NULL),
                     LOCK_GRANTED);
    ck_assert_int_eq(one.phase, LOCK_RESERVED);
    ck_assert_int_eq(one.held, LOCK_NONE);
    ck_assert_int_eq(lock_table_mode(&table), LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_table_held(&table), LOCK_NONE);
    ck_assert_int_eq(
        lock_request(&table, &two, &b, LOCK_WHOLE, LOCK_SHARED, false, false, &blocker), LOCK_BUSY);
    ck_assert_ptr_eq(blocker, &one);
    ck_assert_int_eq(lock_may_change(&table, &b, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_read(&table, &b, LOCK_WHOLE, NULL), 0);
    lock_hold(&one);
    ck_assert_int_eq(lock_table_held(&table), LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_change(&table, &b, LOCK_WHOLE, NULL), -EBUSY);
    ck_assert_int_eq(lock_may_read(&table, &b, LOCK_WHOLE, NULL), -EBUSY);
    ck_assert_int_eq(lock_may_change(&table, &a, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_read(&table, &a, LOCK_WHOLE, NULL), 0);
}
END_TEST

START_TEST(refusal_leaves_no_trace)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_request(&table, &two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE, false, false, NULL),
                     LOCK_BUSY);
    ck_assert_int_eq(two.phase, LOCK_SETTLED);
    ck_assert_int_eq(two.wanted, LOCK_NONE);
    ck_assert(TAILQ_EMPTY(&b.locks));
    ck_assert(TAILQ_EMPTY(&table.queue));
    /* not even a place in the queue */
    take(&three, &c, LOCK_WHOLE, LOCK_SHARED);
    /* and the memory may be used again */
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_SHARED), LOCK_GRANTED);
}
END_TEST

START_TEST(shared_locks_stand_beside_each_other)
{
    const struct lock *blocker = NULL;

    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(1, 1), NULL), 0);
    take(&two, &b, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_table_mode(&table), LOCK_SHARED);
    ck_assert_int_eq(lock_table_held(&table), LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(1, 1), &blocker), -EBUSY);
    ck_assert_ptr_eq(blocker, &two);
    ck_assert_int_eq(lock_may_read(&table, &c, bytes(1, 1), NULL), 0);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
}
END_TEST

START_TEST(ranges_that_only_touch_do_not_conflict)
{
    const struct lock *blocker = NULL;

    take(&one, &a, bytes(10, 19), LOCK_EXCLUSIVE);
    take(&two, &b, bytes(0, 9), LOCK_EXCLUSIVE);
    take(&three, &b, bytes(20, 29), LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask(&four, &c, bytes(9, 9), LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(ask(&five, &c, bytes(29, 40), LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(10, 19), NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(9, 19), &blocker), -EBUSY);
    ck_assert_ptr_eq(blocker, &two);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(10, 20), &blocker), -EBUSY);
    ck_assert_ptr_eq(blocker, &three);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(30, UINT64_MAX), &blocker), 0);
}
END_TEST

START_TEST(whole_device_covers_its_last_byte)
{
    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_change(&table, &b, bytes(UINT64_MAX, UINT64_MAX), NULL), -EBUSY);
    ck_assert_int_eq(ask(&two, &b, bytes(UINT64_MAX, UINT64_MAX), LOCK_SHARED), LOCK_QUEUED);
}
END_TEST

START_TEST(only_isolation_keeps_readers_out)
{
    const struct lock *blocker = NULL;

    take(&one, &a, bytes(0, 9), LOCK_EXCLUSIVE);
    take_isolating(&two, &a, bytes(10, 19));
    ck_assert_int_eq(lock_may_read(&table, &b, bytes(0, 9), &blocker), 0);
    ck_assert_int_eq(lock_may_read(&table, &b, bytes(0, 10), &blocker), -EBUSY);
    ck_assert_ptr_eq(blocker, &two);
    ck_assert_int_eq(lock_may_read(&table, &a, bytes(0, 19), NULL), 0);
    lock_downgrade(&two, &woken);
    ck_assert(!two.isolates);
    ck_assert_int_eq(lock_may_read(&table, &b, bytes(0, 10), NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &b, bytes(10, 10), NULL), -EBUSY);
}
END_TEST

START_TEST(isolation_begins_and_ends_while_the_lock_is_held)
{
    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_read(&table, &b, bytes(0, 9), NULL), 0);
    lock_isolate(&one, true);
    ck_assert_int_eq(lock_may_read(&table, &b, bytes(0, 9), NULL), -EBUSY);
    ck_assert_int_eq(lock_may_read(&table, &a, bytes(0, 9), NULL), 0);
    lock_isolate(&one, false);
    ck_assert_int_eq(lock_may_read(&table, &b, bytes(0, 9), NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &b, bytes(0, 9), NULL), -EBUSY);
}
END_TEST

START_TEST(one_who_waits_can_be_told_for_whom)
{
    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_ptr_eq(lock_blocker(&two), &one);
}
END_TEST

START_TEST(stream_of_readers_does_not_starve_a_writer)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    ck_assert_uint_eq(lock_queue_position(&two), 0);
    ck_assert_uint_eq(lock_queue_position(&three), 1);
    lock_release(&one, &woken);
    assert_woken(&two);
    lock_hold(&two);
    lock_release(&two, &woken);
    assert_woken(&three);
}
END_TEST

START_TEST(one_who_gives_up_lets_by_those_behind)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    lock_cancel(&two, &woken);
    assert_woken(&three);
    ck_assert_int_eq(two.phase, LOCK_SETTLED);
    ck_assert(TAILQ_EMPTY(&b.locks));
}
END_TEST

START_TEST(reserved_lock_that_is_given_back_goes_to_the_next)
{
    ck_assert_int_eq(ask(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_GRANTED);
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    lock_cancel(&one, &woken);
    assert_woken(&two);
    ck_assert_ptr_eq(TAILQ_FIRST(&table.granted), &two);
    lock_release(&two, &woken);
    assert_woken(NULL);
    ck_assert_int_eq(lock_table_mode(&table), LOCK_NONE);
}
END_TEST

START_TEST(owners_later_request_waits_behind_its_earlier_one)
{
    take(&one, &a, bytes(0, 9), LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask(&two, &b, bytes(0, 19), LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &b, bytes(15, 29), LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(ask(&four, &b, bytes(30, 39), LOCK_EXCLUSIVE), LOCK_GRANTED);
    lock_release(&one, &woken);
    ck_assert_ptr_eq(TAILQ_FIRST(&woken), &two);
    ck_assert_ptr_eq(TAILQ_NEXT(&two, result_link), &three);
    ck_assert_ptr_null(TAILQ_NEXT(&three, result_link));
}
END_TEST

START_TEST(owners_locks_do_not_conflict)
{
    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    take(&two, &a, bytes(5, 6), LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&table, &a, bytes(5, 6), NULL), 0);
    ck_assert_int_eq(lock_owner_held(&a), LOCK_EXCLUSIVE);
    ck_assert_ptr_eq(lock_owner_find(&a, bytes(5, 6)), &two);
    ck_assert_ptr_eq(lock_owner_find(&a, LOCK_WHOLE), &one);
    ck_assert_ptr_null(lock_owner_find(&a, bytes(5, 7)));
    ck_assert_ptr_null(lock_owner_find(&a, bytes(4, 6)));
}
END_TEST

START_TEST(upgrade_waits_for_other_readers_and_passes_ordinary_waiters)
{
    struct lock *blocker = NULL;

    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    take(&two, &b, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(lock_upgrade(&one, true, false, &blocker), LOCK_BUSY);
    ck_assert_ptr_eq(blocker, &two);
    ck_assert(!one.isolates);
    ck_assert_int_eq(lock_upgrade(&one, true, true, NULL), LOCK_QUEUED);
    ck_assert_uint_eq(lock_queue_position(&one), 0);
    ck_assert_uint_eq(lock_queue_position(&three), 1);
    ck_assert_int_eq(one.held, LOCK_SHARED);
    lock_release(&two, &woken);
    assert_woken(&one);
    ck_assert_int_eq(lock_table_mode(&table), LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_table_held(&table), LOCK_SHARED);
    ck_assert_int_eq(lock_may_read(&table, &c, LOCK_WHOLE, NULL), 0);
    lock_hold(&one);
    ck_assert_int_eq(lock_table_held(&table), LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_read(&table, &c, LOCK_WHOLE, NULL), -EBUSY);
    lock_release(&one, &woken);
    assert_woken(&three);
}
END_TEST

START_TEST(upgrades_stand_among_themselves_in_order)
{
    take(&one, &a, bytes(0, 9), LOCK_SHARED);
    take(&two, &b, bytes(10, 19), LOCK_SHARED);
    take(&three, &c, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&four, &c, bytes(0, 19), LOCK_EXCLUSIVE), LOCK_QUEUED);
    /* c waits for both, so neither may wait for c */
    ck_assert_int_eq(lock_upgrade(&two, false, true, NULL), LOCK_DEADLOCK);
    lock_cancel(&four, &woken);
    ck_assert_int_eq(lock_upgrade(&two, false, true, NULL), LOCK_QUEUED);
    ck_assert_int_eq(ask(&four, &a, bytes(50, 59), LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(lock_upgrade(&one, false, true, NULL), LOCK_QUEUED);
    ck_assert_uint_eq(lock_queue_position(&two), 0);
    ck_assert_uint_eq(lock_queue_position(&one), 1);
    ck_assert_uint_eq(lock_queue_position(&four), 2);
}
END_TEST

START_TEST(upgrade_that_is_given_up_stays_shared)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    take(&two, &b, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_upgrade(&one, true, true, NULL), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    lock_cancel(&one, &woken); /* while it waits */
    assert_woken(&three);
    lock_cancel(&three, &woken);
    lock_release(&two, &woken);
    ck_assert_int_eq(lock_upgrade(&one, true, true, NULL), LOCK_GRANTED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    lock_cancel(&one, &woken); /* while it is reserved */
    assert_woken(&three);
    ck_assert_int_eq(one.held, LOCK_SHARED);
    ck_assert_int_eq(one.phase, LOCK_SETTLED);
    ck_assert(!one.isolates);
    ck_assert_int_eq(lock_table_mode(&table), LOCK_SHARED);
    ck_assert_ptr_eq(TAILQ_FIRST(&a.locks), &one);
}
END_TEST

START_TEST(downgrade_lets_readers_in_but_no_writer)
{
    take(&one, &a, LOCK_WHOLE, LOCK_EXCLUSIVE);
    ck_assert_int_eq(ask(&two, &b, LOCK_WHOLE, LOCK_SHARED), LOCK_QUEUED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    lock_downgrade(&one, &woken);
    assert_woken(&two);
    ck_assert_int_eq(one.held, LOCK_SHARED);
    ck_assert_int_eq(lock_table_mode(&table), LOCK_SHARED);
    ck_assert_int_eq(lock_table_held(&table), LOCK_SHARED);
}
END_TEST

START_TEST(release_works_in_any_phase)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    take(&two, &b, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    lock_release(&three, &woken);
    ck_assert_int_eq(lock_upgrade(&one, false, true, NULL), LOCK_QUEUED);
    lock_release(&one, &woken); /* an upgrade that waits */
    assert_woken(NULL);
    ck_assert_int_eq(one.held, LOCK_NONE);
    ck_assert_int_eq(lock_upgrade(&two, false, true, NULL), LOCK_GRANTED);
    lock_release(&two, &woken); /* one that is reserved */
    ck_assert_int_eq(lock_table_mode(&table), LOCK_NONE);
    ck_assert_int_eq(lock_table_held(&table), LOCK_NONE);
    ck_assert(TAILQ_EMPTY(&a.locks));
    ck_assert(TAILQ_EMPTY(&party_a.possessions));
    ck_assert(TAILQ_EMPTY(&party_a.waits));
}
END_TEST

START_TEST(modes_have_names)
{
    ck_assert_str_eq(lock_mode_name(LOCK_NONE), "none");
    ck_assert_str_eq(lock_mode_name(LOCK_SHARED), "shared");
    ck_assert_str_eq(lock_mode_name(LOCK_EXCLUSIVE), "exclusive");
    ck_assert_str_eq(lock_mode_name((enum lock_mode)99), "unknown");
}
END_TEST

/* Our own mistakes do not go on to touch a disk. */
START_TEST(misuse_aborts)
{
    take(&one, &a, LOCK_WHOLE, LOCK_SHARED);
    take(&two, &b, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(ask(&three, &c, LOCK_WHOLE, LOCK_EXCLUSIVE), LOCK_QUEUED);
    switch (_i) {
    case 0:
        ask(&one, &a, LOCK_WHOLE, LOCK_SHARED);
        break;
    case 1:
        ask(&three, &a, LOCK_WHOLE, LOCK_SHARED);
        break;
    case 2:
        ask(&four, &a, LOCK_WHOLE, LOCK_NONE);
        break;
    case 3:
        lock_request(&table, &four, &a, LOCK_WHOLE, LOCK_SHARED, true, false, NULL);
        break;
    case 4:
        ask(&four, &a, bytes(1, 0), LOCK_SHARED);
        break;
    case 5:
        ask_on(&disk, &four, &a, LOCK_WHOLE, LOCK_SHARED);
        break;
    case 6:
        lock_upgrade(&three, false, false, NULL);
        break;
    case 7:
        lock_hold(&one);
        break;
    case 8:
        lock_cancel(&one, &woken);
        break;
    case 9:
        lock_downgrade(&one, &woken);
        break;
    case 10:
        lock_release(&four, &woken);
        break;
    case 11:
        lock_unrelate(&table);
        break;
    case 12:
        lock_relate(&table, &table);
        break;
    default:
        lock_queue_position(&one);
        break;
    }
}
END_TEST

/* Contract L9: who may only read cannot stop those who may write. */
START_TEST(advisory_lock_keeps_out_its_own_user_only)
{
    static atomic_uint user, other_user;
    const struct lock *blocker = NULL;
    enum lock_mode mode = _i == 0 ? LOCK_SHARED : LOCK_EXCLUSIVE;

    lock_owner_belongs(&a, &user, true);
    lock_owner_belongs(&a2, &user, false);
    lock_owner_belongs(&b, &other_user, false);
    ck_assert_int_eq(
        lock_request(&table, &one, &a, bytes(100, 199), mode, mode == LOCK_EXCLUSIVE, false, NULL),
        LOCK_GRANTED);
    lock_hold(&one);
    ck_assert_uint_eq(user, 1);
    ck_assert_int_eq(lock_may_change(&table, &b, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_read(&table, &b, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &c, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &a, LOCK_WHOLE, NULL), 0);
    ck_assert_int_eq(lock_may_change(&table, &a2, bytes(150, 150), &blocker), -EBUSY);
    ck_assert_ptr_eq(blocker, &one);
    ck_assert_int_eq(lock_may_change(&table, &a2, bytes(200, 300), NULL), 0);
    /* Who asks for a lock is refused as ever; who has one is in the way of the reader's user. */
    ck_assert_int_eq(lock_request(&table, &two, &b, LOCK_WHOLE, LOCK_EXCLUSIVE, false, false, NULL),
                     LOCK_BUSY);
    lock_release(&one, &woken);
    ck_assert_uint_eq(user, 0);
    ck_assert_int_eq(lock_may_change(&table, &a2, LOCK_WHOLE, NULL), 0);
    take(&two, &b, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&table, &a2, LOCK_WHOLE, NULL), -EBUSY);
}
END_TEST

START_TEST(advisory_lock_on_a_related_device_is_in_nobodys_way)
{
    static atomic_uint user;

    lock_owner_belongs(&on_partition, &user, true);
    ck_assert_int_eq(lock_relate(&disk, &partition), 0);
    take_on(&partition, &one, &on_partition, LOCK_WHOLE, LOCK_SHARED);
    ck_assert_int_eq(lock_may_change(&disk, &on_disk, LOCK_WHOLE, NULL), 0);
    lock_release(&one, &woken);
    lock_unrelate(&partition);
}
END_TEST

int main(void)
{
    TCase *rules = tcase_create("rules");

    tcase_add_loop_test(rules, advisory_lock_keeps_out_its_own_user_only, 0, 2);
    tcase_add_test(rules, advisory_lock_on_a_related_device_is_in_nobodys_way);
    tcase_add_test(rules, nothing_is_locked_at_first);
    tcase_add_test(rules, reserved_keeps_requests_out_but_not_transfers);
    tcase_add_test(rules, refusal_leaves_no_trace);
    tcase_add_test(rules, shared_locks_stand_beside_each_other);
    tcase_add_test(rules, ranges_that_only_touch_do_not_conflict);
    tcase_add_test(rules, whole_device_covers_its_last_byte);
    tcase_add_test(rules, only_isolation_keeps_readers_out);
    tcase_add_test(rules, isolation_begins_and_ends_while_the_lock_is_held);
    tcase_add_test(rules, one_who_waits_can_be_told_for_whom);
    tcase_add_test(rules, stream_of_readers_does_not_starve_a_writer);
    tcase_add_test(rules, one_who_gives_up_lets_by_those_behind);
    tcase_add_test(rules, reserved_lock_that_is_given_back_goes_to_the_next);
    tcase_add_test(rules, owners_later_request_waits_behind_its_earlier_one);
    tcase_add_test(rules, owners_locks_do_not_conflict);
    tcase_add_test(rules, upgrade_waits_for_other_readers_and_passes_ordinary_waiters);
    tcase_add_test(rules, upgrades_stand_among_themselves_in_order);
    tcase_add_test(rules, upgrade_that_is_given_up_stays_shared);
    tcase_add_test(rules, downgrade_lets_readers_in_but_no_writer);
    tcase_add_test(rules, release_works_in_any_phase);
    tcase_add_test(rules, modes_have_names);
#ifndef NDEBUG
    tcase_add_loop_test_raise_signal(rules, misuse_aborts, SIGABRT, 0, 14);
#endif
    return run_rules("lock", rules);
}
