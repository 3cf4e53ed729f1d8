/* SPDX-License-Identifier: MIT */
/* How a lock that libblkd waits for ends without being granted: its device is closed, the daemon
 * lost. */
#include "tests/unit/client/lib/fake_locks.h"

static bool lock_answered_first;

/* A Close ends a Lock that waits, before or after it is answered itself. */
static bool cancel_at_close(struct fake *daemon, const Blkd__Request *request,
                            const uint8_t *payload)
{
    if (request->op_case != BLKD__REQUEST__OP_CLOSE || parked_id == 0)
        return park(daemon, request, payload);
    daemon->closes++;
    if (!lock_answered_first)
        fake_answer(daemon, request->id, 0, "");
    fake_answer(daemon, parked_id, -ECANCELED, "the device is being closed");
    if (lock_answered_first)
        fake_answer(daemon, request->id, 0, "");
    return true;
}

START_TEST(closing_cancels_a_lock_that_waits)
{
    struct blkd_lock_request request = {0};

    lock_answered_first = _i == 0;
    fake.on_request = cancel_at_close;
    begin();
    request.wait_ms = BLKD_WAIT_FOREVER;
    results[0] = results[1] = 1;
    ck_assert_int_eq(blkd_lock_async(device, &request, NULL, on_result, &results[0]), 0);
    ck_assert_int_eq(blkd_flush_async(device, on_result, &results[1]), 0);
    wait_parked();
    blkd_close(device);
    while (results[0] == 1 || results[1] == 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_int_eq(results[0], -ECANCELED);
    ck_assert_int_eq(results[1], 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

START_TEST(closing_cancels_a_thread_that_waits)
{
    pthread_t waiter;
    int result = 1;

    lock_answered_first = _i == 0;
    fake.on_request = cancel_at_close;
    begin();
    ck_assert_int_eq(pthread_create(&waiter, NULL, lock_and_wait, &result), 0);
    wait_parked();
    blkd_close(device);
    ck_assert_int_eq(pthread_join(waiter, NULL), 0);
    ck_assert_int_eq(result, -ECANCELED);
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

/* The daemon answers the close only: the handle must live until the lock's call has ended. */
static bool forget_lock_at_close(struct fake *daemon, const Blkd__Request *request,
                                 const uint8_t *payload)
{
    if (request->op_case != BLKD__REQUEST__OP_CLOSE)
        return park(daemon, request, payload);
    fake_answer(daemon, request->id, 0, "");
    return true;
}

START_TEST(lock_that_outlives_the_close_ends_with_the_connection)
{
    struct blkd_lock_request request = {0};

    fake.on_request = forget_lock_at_close;
    begin();
    request.wait_ms = BLKD_WAIT_FOREVER;
    results[0] = results[1] = 1;
    ck_assert_int_eq(blkd_lock_async(device, &request, NULL, on_result, &results[0]), 0);
    wait_parked();
    ck_assert_int_eq(blkd_close_async(device, on_result, &results[1]), 0);
    while (results[1] == 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_int_eq(results[1], 0);
    ck_assert_int_eq(results[0], 1);
    blkd_disconnect(connection);
    ck_assert_int_eq(results[0], -ENOTCONN);
    fake_stop(&fake);
}
END_TEST

/* A lock that does not wait is a call like any other: the close comes after it. */
static bool answer_lock_late(struct fake *daemon, const Blkd__Request *request,
                             const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_LOCK) {
        parked_id = request->id;
        return true;
    }
    if (request->op_case == BLKD__REQUEST__OP_PING) {
        fake_answer(daemon, parked_id, -EBUSY, "held");
        parked_id = 0;
    }
    if (request->op_case == BLKD__REQUEST__OP_CLOSE && parked_id != 0)
        abort();
    return false;
}

START_TEST(close_waits_for_a_lock_that_does_not_wait)
{
    fake.on_request = answer_lock_late;
    begin();
    results[0] = results[1] = results[2] = 1;
    ck_assert_int_eq(blkd_lock_async(device, NULL, NULL, on_result, &results[0]), 0);
    ck_assert_int_eq(blkd_close_async(device, on_result, &results[1]), 0);
    ck_assert_int_eq(blkd_ping_async(connection, on_result, &results[2]), 0);
    while (results[0] == 1 || results[1] == 1 || results[2] == 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_int_eq(results[0], -EBUSY);
    ck_assert_int_eq(results[1], 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

static bool go_at_flush(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    if (request->op_case != BLKD__REQUEST__OP_FLUSH)
        return park(daemon, request, payload);
    fake_hang_up(daemon);
    return true;
}

START_TEST(lost_daemon_ends_a_wait)
{
    pthread_t waiter;
    int result = 1;

    fake.on_request = go_at_flush;
    begin();
    ck_assert_int_eq(pthread_create(&waiter, NULL, lock_and_wait, &result), 0);
    wait_parked();
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN); /* the script's sign to go */
    ck_assert_int_eq(pthread_join(waiter, NULL), 0);
    ck_assert_int_eq(result, -ENOTCONN);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_lock_close");
    TCase *tests = tcase_create("closing");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, closing_cancels_a_lock_that_waits, 0, 2);
    tcase_add_loop_test(tests, closing_cancels_a_thread_that_waits, 0, 2);
    tcase_add_test(tests, lock_that_outlives_the_close_ends_with_the_connection);
    tcase_add_test(tests, close_waits_for_a_lock_that_does_not_wait);
    tcase_add_test(tests, lost_daemon_ends_a_wait);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
