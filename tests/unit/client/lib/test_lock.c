/* SPDX-License-Identifier: MIT */
/* libblkd's locks against a scripted daemon: requests, refusals, waiting. */
#include "tests/unit/client/lib/fake_locks.h"

/* ---- what is asked for ---- */

START_TEST(default_lock_is_exclusive_whole_and_does_not_wait)
{
    uint64_t token = 0;

    begin();
    ck_assert_int_eq(blkd_lock(device, NULL, &token), 0);
    ck_assert_uint_eq(token, 1);
    ck_assert_int_eq(blkd_lock(device, NULL, NULL), 0);
    end();
    ck_assert_uint_eq(asked.mode, BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE);
    ck_assert_uint_eq(asked.offset_bytes, 0);
    ck_assert_uint_eq(asked.length_bytes, 0);
    ck_assert_uint_eq(asked.wait_ms, 0);
    ck_assert(!asked.isolate);
    ck_assert_str_eq(asked.purpose, "");
}
END_TEST

START_TEST(request_arrives_with_all_its_members)
{
    struct blkd_lock_request request = {0};
    char purpose[65];
    uint64_t token = 99;

    memset(purpose, 'p', 64);
    purpose[64] = '\0';
    begin();
    request.first_sector = 3;
    request.count_sectors = 5;
    request.wait_ms = 1234;
    request.isolate = true;
    request.purpose = purpose;
    ck_assert_int_eq(blkd_lock(device, &request, NULL), 0);
    end();
    ck_assert_uint_eq(asked.mode, BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE);
    ck_assert_uint_eq(asked.offset_bytes, 3 * FAKE_SECTOR);
    ck_assert_uint_eq(asked.length_bytes, 5 * FAKE_SECTOR);
    ck_assert_uint_eq(asked.wait_ms, 1234);
    ck_assert(asked.isolate);
    ck_assert_str_eq(asked.purpose, purpose);

    setup();
    begin();
    request = (struct blkd_lock_request){0};
    request.mode = BLKD_LOCK_SHARED;
    request.wait_ms = BLKD_WAIT_FOREVER;
    ck_assert_int_eq(blkd_lock(device, &request, &token), 0);
    ck_assert_uint_eq(token, 0);
    ck_assert_int_eq(blkd_unlock(device, 2, 6), 0);
    end();
    ck_assert_uint_eq(asked.mode, BLKD__LOCK_MODE__LOCK_MODE_SHARED);
    ck_assert_uint_eq(asked.wait_ms, BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER);
    ck_assert_uint_eq(asked.unlock_offset_bytes, 2 * FAKE_SECTOR);
    ck_assert_uint_eq(asked.unlock_length_bytes, 6 * FAKE_SECTOR);
}
END_TEST

static void check_refused(const struct blkd_lock_request *request, const char *part)
{
    ck_assert_int_eq(blkd_lock(device, request, NULL), -EINVAL);
    ck_assert_msg(strstr(blkd_error_message(), part) != NULL, "'%s' lacks '%s'",
                  blkd_error_message(), part);
}

START_TEST(impossible_requests_are_refused_without_the_daemon)
{
    struct blkd_lock_request request = {0};
    char purpose[66];

    begin();
    request.mode = (enum blkd_lock_mode)3;
    check_refused(&request, "neither shared nor exclusive");
    request.mode = BLKD_LOCK_SHARED;
    request.isolate = true;
    check_refused(&request, "isolate requires an exclusive lock");
    request = (struct blkd_lock_request){0};
    request.wait_ms = -2;
    check_refused(&request, "wait_ms for /srv/a.img is -2");
    request.wait_ms = 0;
    request.first_sector = 1;
    check_refused(&request, "0 sectors at sector 1");
    request.count_sectors = UINT64_MAX;
    check_refused(&request, "2^63 - 1");
    request.first_sector = INT64_MAX / FAKE_SECTOR;
    request.count_sectors = 1;
    check_refused(&request, "2^63 - 1");
    request = (struct blkd_lock_request){0};
    memset(purpose, 'p', 65);
    purpose[65] = '\0';
    request.purpose = purpose;
    check_refused(&request, "65 bytes");
    for (size_t i = 0; i < sizeof(request.reserved) / sizeof(request.reserved[0]); i++) {
        request = (struct blkd_lock_request){0};
        request.reserved[i] = 1;
        check_refused(&request, "blkd_lock_request.reserved");
    }
    ck_assert_int_eq(blkd_unlock(device, 7, 0), -EINVAL);
    ck_assert_int_eq(blkd_unlock(NULL, 0, 0), -EINVAL);
    ck_assert_int_eq(blkd_lock(NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(blkd_lock_async(device, NULL, NULL, NULL, NULL), -EINVAL);
    end();
    ck_assert_uint_eq(asked.locks + asked.unlocks, 0);
}
END_TEST

/* ---- refusals ---- */

static int refusal;

static bool refuse(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_LOCK && request->op_case != BLKD__REQUEST__OP_UNLOCK)
        return false;
    fake_answer(daemon, request->id, refusal, "session 5 of pid 123 (mirage) holds it");
    return true;
}

START_TEST(refusals_come_through_and_name_the_holder)
{
    static const int errors[] = {-EBUSY, -ETIMEDOUT, -EDEADLK, -ESTALE, -EDQUOT, -EBADF};
    uint64_t token = 7;

    fake.on_request = refuse;
    begin();
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        refusal = errors[i];
        ck_assert_int_eq(blkd_lock(device, NULL, &token), errors[i]);
        ck_assert_uint_eq(token, 7);
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "exclusive lock on all of /srv/a.img"));
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "pid 123 (mirage)"));
    }
    refusal = -EINVAL;
    ck_assert_int_eq(blkd_unlock(device, 4, 2), -EINVAL);
    ck_assert_ptr_nonnull(
        strstr(blkd_error_message(), "unlocking 2 sectors at sector 4 of /srv/a.img"));
    end();
}
END_TEST

START_TEST(reply_without_a_lock_is_a_protocol_error)
{
    fake.on_request = refuse;
    refusal = 0;
    begin();
    ck_assert_int_eq(blkd_lock(device, NULL, NULL), -EPROTO);
    ck_assert_int_eq(blkd_unlock(device, 0, 0), 0);
    end();
}
END_TEST

/* ---- waiting ---- */

/* Two threads wait for nothing but their own calls, a third for a lock: they are not held up. */
static void *transfer(void *argument)
{
    uint8_t bytes[FAKE_SECTOR];
    struct iovec iov = {bytes, sizeof(bytes)};

    for (int i = 0; i < 200; i++)
        if (blkd_read(device, 9, &iov, 1) != 0 || blkd_write(device, 9, &iov, 1, 0) != 0)
            return argument;
    return NULL;
}

START_TEST(thread_that_waits_for_a_lock_holds_up_no_other)
{
    pthread_t waiter, others[2];
    void *failed;
    int result = 1;

    fake.on_request = park;
    begin();
    ck_assert_int_eq(pthread_create(&waiter, NULL, lock_and_wait, &result), 0);
    wait_parked();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&others[i], NULL, transfer, &asked), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(others[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(blkd_unlock(device, 0, 0), 0); /* the script's sign to grant */
    ck_assert_int_eq(pthread_join(waiter, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert_int_eq(result, 0);
    end();
    ck_assert_uint_eq(fake.reads, 400);
}
END_TEST

START_TEST(lock_is_granted_to_a_callback)
{
    struct blkd_lock_request request = {0};
    char purpose[] = "short-lived";
    uint64_t token = 0;

    fake.on_request = park;
    begin();
    request.wait_ms = 60000;
    request.purpose = purpose;
    results[0] = results[1] = 1;
    ck_assert_int_eq(blkd_lock_async(device, &request, &token, on_result, &results[0]), 0);
    memset(purpose, 'x', sizeof(purpose) - 1);
    wait_parked();
    ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
    ck_assert_int_eq(results[0], 1);
    ck_assert_int_eq(blkd_unlock_async(device, 0, 0, on_result, &results[1]), 0);
    while (results[0] == 1 || results[1] == 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_int_eq(results[0], 0);
    ck_assert_int_eq(results[1], 0);
    ck_assert_uint_eq(token, 1);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_lock");
    TCase *tests = tcase_create("locks");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, default_lock_is_exclusive_whole_and_does_not_wait);
    tcase_add_test(tests, request_arrives_with_all_its_members);
    tcase_add_test(tests, impossible_requests_are_refused_without_the_daemon);
    tcase_add_test(tests, refusals_come_through_and_name_the_holder);
    tcase_add_test(tests, reply_without_a_lock_is_a_protocol_error);
    tcase_add_test(tests, thread_that_waits_for_a_lock_holds_up_no_other);
    tcase_add_test(tests, lock_is_granted_to_a_callback);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
