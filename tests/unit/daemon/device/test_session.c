/* SPDX-License-Identifier: MIT */
/* A session's end: after its requests and its locks; and what its owner is told of those. */
#include "tests/unit/daemon/device/session_fixture.h"

/* ---- its end ---- */

START_TEST(idle_session_is_gone_when_it_is_closed)
{
    struct session *session = open_session();
    session_close(session);
    ck_assert_uint_eq(t.gone, 1);
    settle();
    ck_assert_uint_eq(t.gone, 1);
    ck_assert_uint_eq(t.closings, 1);
    ck_assert(TAILQ_EMPTY(&fixture.registry.sessions));
}
END_TEST

START_TEST(last_request_finishes_a_close)
{
    struct session *session = open_session();
    session_hold(session);
    session_hold(session);
    session_close(session);
    settle();
    ck_assert_uint_eq(t.gone, 0);
    session_drop(session);
    settle();
    ck_assert_uint_eq(t.gone, 0);
    ck_assert_ptr_eq(TAILQ_FIRST(&fixture.registry.sessions), session);
    session_drop(session);
    ck_assert_uint_eq(t.gone, 1);
    settle();
    ck_assert_uint_eq(t.gone, 1);
}
END_TEST

START_TEST(end_of_a_request_closes_nothing_by_itself)
{
    struct session *session = open_session();
    session_hold(session);
    session_drop(session);
    settle();
    ck_assert_uint_eq(t.gone, 0);
    session_close(session);
}
END_TEST

START_TEST(counters_of_a_session_outlive_it_in_its_device)
{
    struct session *session = open_session();
    struct device *device = session->device;
    hold_take(device);
    session->stats = (struct stats){.reads = 3, .errors = 1};
    session_close(session);
    (void)fixture_deliver();
    ck_assert_uint_eq(device->retired.reads, 3);
    ck_assert_uint_eq(device->retired.errors, 1);
    hold_drop(device);
}
END_TEST

/* ---- its locks ---- */

static int lock_result;

static void on_locked(struct session_lock *held, int result)
{
    (void)held;
    lock_result = result;
}

/* Asks for a lock; what on_done says, or 1: nothing yet. */
static int lock(struct session *session, struct lock_range range, enum lock_mode mode, int wait_ms)
{
    const struct session_lock_ask ask = {
        .mode = mode, .range = range, .wait_ms = wait_ms, .on_done = on_locked};
    lock_result = 1;
    session_hold(session);
    ck_assert_int_eq(session_lock_ask(session, &ask), 0);
    settle();
    while (lock_result == 1 && wait_ms == 0) { /* a token is being reserved */
        fixture_await_mail();
        settle();
    }
    session_drop(session);
    return lock_result;
}

static void on_unguarded(struct guard_wait *wait, enum guard_mode kept, int result)
{
    (void)wait;
    (void)kept;
    ck_assert_int_eq(result, 0);
}

static void unlock(struct session *session, struct lock_range range)
{
    const char *reason = NULL;
    struct guard_wait wait = {.loop = &fixture.loops[0], .on_done = on_unguarded};
    ck_assert_int_eq(session_unlock(session, range, &wait, &reason), 0);
    settle();
}

static const struct lock_range first_block = {0, CRASH_BLOCK_BYTES - 1};
static const struct lock_range second_block = {CRASH_BLOCK_BYTES, 2 * CRASH_BLOCK_BYTES - 1};

START_TEST(session_is_gone_after_its_locks_inside_and_outside)
{
    struct session *session = open_session();
    struct device *device = session->device;
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, 0), 0);
    ck_assert_int_eq(device->guard.kept, GUARD_EXCLUSIVE);
    session_close(session);
    ck_assert_uint_eq(t.gone, 0); /* the outside world does not know yet */
    settle();
    ck_assert_uint_eq(t.gone, 1);
    ck_assert_int_eq(t.locks_when_gone, 0);
    ck_assert_int_eq(t.lock_left, LOCK_NONE);
    ck_assert_int_eq(t.guard_left, GUARD_NONE);
}
END_TEST

START_TEST(closing_twice_is_closing_once)
{
    struct session *session = open_session();
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, 0), 0);
    session_close(session);
    session_close(session); /* while its locks are released */
    settle();
    ck_assert_uint_eq(t.gone, 1);
    ck_assert_uint_eq(t.closings, 1);
}
END_TEST

START_TEST(owner_is_told_of_each_lock_and_of_its_end)
{
    struct session *session = open_session();
    ck_assert_int_eq(lock(session, first_block, LOCK_SHARED, 0), 0);
    ck_assert_int_eq(t.locks, 1);
    ck_assert_int_eq(lock(session, second_block, LOCK_EXCLUSIVE, 0), 0);
    ck_assert_int_eq(t.locks, 2);
    unlock(session, first_block);
    ck_assert_int_eq(t.locks, 1);
    session_close(session);
    settle();
    ck_assert_int_eq(t.locks, 0);
}
END_TEST

START_TEST(upgraded_lock_is_still_one_lock)
{
    struct session *session = open_session();
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_SHARED, 0), 0);
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, 0), 0);
    ck_assert_int_eq(t.locks, 1);
    session_close(session);
    settle();
    ck_assert_int_eq(t.locks, 0);
}
END_TEST

START_TEST(refused_lock_is_no_lock_to_the_owner)
{
    struct claim second = {.resized = 0};
    struct device *device = NULL;
    struct session *session = open_session();
    ck_assert_int_eq(claim(&second, 0, &device), REGISTRY_EXISTING);
    struct session *other = enter(device);
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, 0), 0);
    ck_assert_int_eq(lock(other, LOCK_WHOLE, LOCK_SHARED, 0), -EBUSY);
    ck_assert_int_eq(t.locks, 1);
    session_close(other);
    session_close(session);
}
END_TEST

START_TEST(revoked_lock_is_a_lock_less)
{
    struct session *session = open_session();
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, 0), 0);
    ck_assert_uint_eq(session_locks_revoke(session->device, 0, SESSION_EVENT_LOCK_LOST), 1);
    settle();
    ck_assert_int_eq(t.locks, 0);
    ck_assert_uint_eq(t.reports, 1);
    ck_assert_uint_eq(t.report.events, SESSION_EVENT_LOCK_LOST);
    ck_assert_uint_eq(t.report.lost_locks, 1);
    session_close(session);
}
END_TEST

START_TEST(close_takes_back_a_request_that_waits)
{
    struct claim second = {.resized = 0};
    struct device *device = NULL;
    struct session *session = open_session();
    ck_assert_int_eq(claim(&second, 0, &device), REGISTRY_EXISTING);
    struct session *other = enter(device);
    ck_assert_int_eq(lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, 0), 0);
    ck_assert_int_eq(lock(other, LOCK_WHOLE, LOCK_SHARED, SESSION_LOCK_WAIT_FOREVER), 1);
    session_close(other);
    ck_assert_int_eq(lock_result, -ECANCELED);
    ck_assert_uint_eq(t.gone, 1);
    session_close(session);
}
END_TEST

static TCase *end_tests(void)
{
    TCase *tests = tcase_create("end");
    tcase_add_checked_fixture(tests, session_setup, session_teardown);
    tcase_add_test(tests, idle_session_is_gone_when_it_is_closed);
    tcase_add_test(tests, last_request_finishes_a_close);
    tcase_add_test(tests, end_of_a_request_closes_nothing_by_itself);
    tcase_add_test(tests, closing_twice_is_closing_once);
    tcase_add_test(tests, counters_of_a_session_outlive_it_in_its_device);
    tcase_add_test(tests, session_is_gone_after_its_locks_inside_and_outside);
    tcase_add_test(tests, owner_is_told_of_each_lock_and_of_its_end);
    tcase_add_test(tests, upgraded_lock_is_still_one_lock);
    tcase_add_test(tests, refused_lock_is_no_lock_to_the_owner);
    tcase_add_test(tests, revoked_lock_is_a_lock_less);
    tcase_add_test(tests, close_takes_back_a_request_that_waits);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("session");
    suite_add_tcase(suite, end_tests());
    return suite_run(suite);
}
