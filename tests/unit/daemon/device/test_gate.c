/* SPDX-License-Identifier: MIT */
/* What the gate lets through: the device's bounds, others' locks, locks that were lost, a device
 * that has failed. */
#include "tests/unit/daemon/device/gate_fixture.h"

static void says(const char *words)
{
    ck_assert_msg(strstr(t.refusal.text, words) != NULL, "\"%s\" is not in: %s", words,
                  t.refusal.text);
}

static void lock(struct session *session, struct lock_range range, enum lock_mode mode,
                 bool isolates)
{
    struct lock_table *table = &session->device->locks;
    t.lock = (struct session_lock){.session = session};
    relations_enter(session->device);
    ck_assert_int_eq(
        lock_request(table, &t.lock.lock, &session->lock, range, mode, isolates, false, NULL),
        LOCK_GRANTED);
    lock_hold(&t.lock.lock);
    relations_leave(session->device);
}

static void unlock(void)
{
    struct device *device = t.lock.session->device;
    struct lock_list reserved = TAILQ_HEAD_INITIALIZER(reserved);
    relations_enter(device);
    lock_release(&t.lock.lock, &reserved);
    relations_leave(device);
}

static void fail_device(int error)
{
    pthread_mutex_lock(&t.device->mutex);
    flush_fail(t.device, &fixture.loops[0].base, error);
    pthread_mutex_unlock(&t.device->mutex);
}

/* ---- bounds ---- */

START_TEST(all_of_the_device_goes_through)
{
    goes_through(t.mine, IO_READ, 0, SIZE_BYTES);
    for (unsigned int i = 0; i < CHANGES; i++)
        goes_through(t.mine, changes[i], 0, SIZE_BYTES);
}
END_TEST

START_TEST(read_past_the_end_is_invalid)
{
    is_refused(t.mine, IO_READ, SIZE_BYTES, SIZE_BYTES + BLOCK, -EINVAL);
    ck_assert(t.refusal.bounds);
    says("at 4096");
}
END_TEST

START_TEST(change_past_the_end_finds_no_space)
{
    for (unsigned int i = 0; i < CHANGES; i++) {
        is_refused(t.mine, changes[i], SIZE_BYTES, SIZE_BYTES + BLOCK, -ENOSPC);
        ck_assert(t.refusal.bounds);
    }
}
END_TEST

START_TEST(transfer_that_straddles_the_end_is_refused_as_a_whole)
{
    is_refused(t.mine, IO_READ, SIZE_BYTES - BLOCK, SIZE_BYTES + 1, -EINVAL);
    ck_assert(t.refusal.bounds);
    for (unsigned int i = 0; i < CHANGES; i++) {
        is_refused(t.mine, changes[i], SIZE_BYTES - BLOCK, SIZE_BYTES + 1, -ENOSPC);
        ck_assert(t.refusal.bounds);
    }
}
END_TEST

START_TEST(end_of_the_device_is_where_it_is_now)
{
    t.device->size_bytes = BLOCK;
    is_refused(t.mine, IO_READ, 0, SIZE_BYTES, -EINVAL);
    t.device->size_bytes = SIZE_BYTES + BLOCK;
    goes_through(t.mine, IO_READ, 0, SIZE_BYTES + BLOCK);
}
END_TEST

/* ---- locks ---- */

START_TEST(shared_lock_of_another_keeps_changes_out_and_no_reads)
{
    lock(t.other, LOCK_WHOLE, LOCK_SHARED, false);
    for (unsigned int i = 0; i < CHANGES; i++) {
        is_refused(t.mine, changes[i], 0, BLOCK, -EBUSY);
        ck_assert(!t.refusal.bounds);
        says("session 2");
        says("shared lock");
    }
    goes_through(t.mine, IO_READ, 0, BLOCK);
}
END_TEST

START_TEST(exclusive_lock_of_another_keeps_changes_out_and_no_reads)
{
    lock(t.other, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    for (unsigned int i = 0; i < CHANGES; i++)
        is_refused(t.mine, changes[i], 0, BLOCK, -EBUSY);
    says("exclusive lock");
    goes_through(t.mine, IO_READ, 0, BLOCK);
}
END_TEST

START_TEST(isolating_lock_of_another_keeps_reads_out_too)
{
    lock(t.other, LOCK_WHOLE, LOCK_EXCLUSIVE, true);
    is_refused(t.mine, IO_READ, 0, BLOCK, -EBUSY);
    says("session 2");
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -EBUSY);
    goes_through(t.other, IO_READ, 0, BLOCK);
}
END_TEST

START_TEST(lock_keeps_out_where_it_lies_only)
{
    lock(t.other, (struct lock_range){BLOCK, 2L * BLOCK - 1}, LOCK_EXCLUSIVE, true);
    for (unsigned int i = 0; i < CHANGES; i++) {
        goes_through(t.mine, changes[i], 0, BLOCK);
        goes_through(t.mine, changes[i], 2L * BLOCK, SIZE_BYTES);
        is_refused(t.mine, changes[i], 0, BLOCK + 1, -EBUSY);
        is_refused(t.mine, changes[i], 2L * BLOCK - 1, SIZE_BYTES, -EBUSY);
    }
    goes_through(t.mine, IO_READ, 0, BLOCK);
    is_refused(t.mine, IO_READ, 0, SIZE_BYTES, -EBUSY);
}
END_TEST

START_TEST(own_exclusive_lock_keeps_its_session_out_of_nothing)
{
    lock(t.mine, LOCK_WHOLE, LOCK_EXCLUSIVE, true);
    goes_through(t.mine, IO_READ, 0, SIZE_BYTES);
    for (unsigned int i = 0; i < CHANGES; i++)
        goes_through(t.mine, changes[i], 0, SIZE_BYTES);
}
END_TEST

START_TEST(released_lock_keeps_nobody_out)
{
    lock(t.other, LOCK_WHOLE, LOCK_EXCLUSIVE, true);
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -EBUSY);
    unlock();
    goes_through(t.mine, IO_WRITE, 0, BLOCK);
    goes_through(t.mine, IO_READ, 0, BLOCK);
}
END_TEST

START_TEST(lock_on_a_device_that_shares_bytes_keeps_changes_out)
{
    struct crash_backend crash;
    struct device *device = t.device;
    const struct backend_info info = fixture_info(2);
    crash_backend_init(&crash);
    t.device = device_new(&fixture.registry.commons, 2, "disk", &crash.backend, &info);
    ck_assert_ptr_nonnull(t.device);
    struct session *session = new_session(2, SESSION_SYNC_OS);
    ck_assert_int_eq(relations_add(t.device, device), 0);
    lock(session, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    struct device *disk = t.device;
    t.device = device;
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -EBUSY);
    says("shares bytes with this one");
    goes_through(t.mine, IO_READ, 0, BLOCK);
    unlock();
    goes_through(t.mine, IO_WRITE, 0, BLOCK);
    session_leave(session);
    (void)session_free(session);
    relations_end(disk);
    (void)device_free(disk);
}
END_TEST

START_TEST(may_change_answers_as_begin_does_and_counts_nothing)
{
    const struct lock_range range = {0, BLOCK - 1};
    pthread_mutex_lock(&t.device->mutex);
    ck_assert_int_eq(gate_may_change(t.device, t.mine, range, &t.refusal), 0);
    pthread_mutex_unlock(&t.device->mutex);
    lock(t.other, LOCK_WHOLE, LOCK_SHARED, false);
    pthread_mutex_lock(&t.device->mutex);
    ck_assert_int_eq(gate_may_change(t.device, t.mine, range, &t.refusal), -EBUSY);
    pthread_mutex_unlock(&t.device->mutex);
    says("session 2");
    ck_assert_uint_eq(in_flight(), 0);
}
END_TEST

/* ---- locks that were lost ---- */

START_TEST(session_whose_lock_was_revoked_changes_nothing_until_it_takes_notice)
{
    lock(t.mine, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    ck_assert_uint_eq(session_locks_revoke(t.device, 0, SESSION_EVENT_LOCK_LOST), 1);
    for (unsigned int i = 0; i < CHANGES; i++)
        is_refused(t.mine, changes[i], 0, BLOCK, -ESTALE);
    says("lost its lock");
    goes_through(t.mine, IO_READ, 0, BLOCK);
    goes_through(t.other, IO_WRITE, 0, BLOCK); /* which had none to lose */
    relations_enter(t.device);
    session_lock_forgive(t.mine, LOCK_WHOLE);
    relations_leave(t.device);
    goes_through(t.mine, IO_WRITE, 0, BLOCK);
}
END_TEST

START_TEST(notice_of_one_range_is_not_notice_of_another)
{
    lock(t.mine, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    ck_assert_uint_eq(session_locks_revoke(t.device, 0, SESSION_EVENT_LOCK_LOST), 1);
    relations_enter(t.device);
    session_lock_forgive(t.mine, (struct lock_range){0, BLOCK - 1});
    relations_leave(t.device);
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -ESTALE);
}
END_TEST

START_TEST(doomed_lock_refuses_its_holder_and_still_keeps_others_out)
{
    uint64_t number = 0;
    lock(t.mine, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    relations_enter(t.device);
    ck_assert_uint_eq(session_locks_doom(t.device, t.mine->number, &number), 1);
    relations_leave(t.device);
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -ESTALE);
    is_refused(t.other, IO_WRITE, 0, BLOCK, -EBUSY);
    ck_assert_uint_eq(session_locks_revoke(t.device, number, SESSION_EVENT_LOCK_BROKEN), 1);
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -ESTALE);
    goes_through(t.other, IO_WRITE, 0, BLOCK);
}
END_TEST

START_TEST(bounds_are_looked_at_before_lost_locks)
{
    lock(t.mine, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    ck_assert_uint_eq(session_locks_revoke(t.device, 0, SESSION_EVENT_LOCK_LOST), 1);
    is_refused(t.mine, IO_WRITE, SIZE_BYTES, SIZE_BYTES + BLOCK, -ENOSPC);
}
END_TEST

/* ---- a device that has failed ---- */

START_TEST(failed_device_refuses_changes_and_lets_reads_through)
{
    fail_device(-ENOSPC);
    for (unsigned int i = 0; i < CHANGES; i++)
        is_refused(t.mine, changes[i], 0, BLOCK, -EIO); /* whatever it failed with */
    says("recover");
    goes_through(t.mine, IO_READ, 0, BLOCK);
}
END_TEST

START_TEST(failure_of_the_device_is_told_before_a_lost_lock)
{
    lock(t.mine, LOCK_WHOLE, LOCK_EXCLUSIVE, false);
    ck_assert_uint_eq(session_locks_revoke(t.device, 0, SESSION_EVENT_LOCK_LOST), 1);
    fail_device(-EIO);
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -EIO);
}
END_TEST

/* A device's flush can have any of them (blk_status_to_errno). */
static const int sync_errors[] = {-EIO, -ENOSPC, -ETIMEDOUT, -EREMOTEIO, -ENOLINK, -EINVAL};

START_TEST(sync_that_was_to_make_a_write_stable_fails_the_device)
{
    int error = sync_errors[_i];
    transfer_unsynced(t.mine, _i % 2 == 0 ? IO_WRITE : IO_ZERO, error);
    ck_assert_int_eq(t.device->sync.ledger.failed, error);
    is_refused(t.mine, IO_WRITE, 0, BLOCK, -EIO);
}
END_TEST

START_TEST(other_failed_writes_do_not_fail_the_device)
{
    transfer(t.mine, IO_WRITE, true, -ENOSPC);
    transfer(t.mine, IO_WRITE, true, -EIO);
    transfer(t.mine, IO_WRITE, false, -EIO);
    ck_assert_int_eq(t.device->sync.ledger.failed, 0);
    goes_through(t.mine, IO_WRITE, 0, BLOCK);
}
END_TEST

static TCase *refusal_tests(void)
{
    TCase *tests = tcase_create("refusals");
    tcase_add_checked_fixture(tests, gate_setup, gate_teardown);
    tcase_add_test(tests, all_of_the_device_goes_through);
    tcase_add_test(tests, read_past_the_end_is_invalid);
    tcase_add_test(tests, change_past_the_end_finds_no_space);
    tcase_add_test(tests, transfer_that_straddles_the_end_is_refused_as_a_whole);
    tcase_add_test(tests, end_of_the_device_is_where_it_is_now);
    tcase_add_test(tests, shared_lock_of_another_keeps_changes_out_and_no_reads);
    tcase_add_test(tests, exclusive_lock_of_another_keeps_changes_out_and_no_reads);
    tcase_add_test(tests, isolating_lock_of_another_keeps_reads_out_too);
    tcase_add_test(tests, lock_keeps_out_where_it_lies_only);
    tcase_add_test(tests, own_exclusive_lock_keeps_its_session_out_of_nothing);
    tcase_add_test(tests, released_lock_keeps_nobody_out);
    tcase_add_test(tests, lock_on_a_device_that_shares_bytes_keeps_changes_out);
    tcase_add_test(tests, may_change_answers_as_begin_does_and_counts_nothing);
    tcase_add_test(tests, session_whose_lock_was_revoked_changes_nothing_until_it_takes_notice);
    tcase_add_test(tests, notice_of_one_range_is_not_notice_of_another);
    tcase_add_test(tests, doomed_lock_refuses_its_holder_and_still_keeps_others_out);
    tcase_add_test(tests, bounds_are_looked_at_before_lost_locks);
    tcase_add_test(tests, failed_device_refuses_changes_and_lets_reads_through);
    tcase_add_test(tests, failure_of_the_device_is_told_before_a_lost_lock);
    tcase_add_loop_test(tests, sync_that_was_to_make_a_write_stable_fails_the_device, 0,
                        sizeof(sync_errors) / sizeof(sync_errors[0]));
    tcase_add_test(tests, other_failed_writes_do_not_fail_the_device);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("gate");
    suite_add_tcase(suite, refusal_tests());
    return suite_run(suite);
}
