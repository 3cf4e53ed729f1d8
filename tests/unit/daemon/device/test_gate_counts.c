/* SPDX-License-Identifier: MIT */
/* What the gate counts of what goes through: transfers done and failed, those in flight, and the
 * changes that are not on stable storage. */
#include "tests/unit/daemon/device/gate_fixture.h"

static void on_flushed(struct flush *flush, int result)
{
    (void)flush;
    ck_assert_int_eq(result, 0);
}

/* All that was changed is on stable storage. */
static void make_durable(void)
{
    struct flush flush = {.loop = &fixture.loops[0], .on_done = on_flushed};
    ck_assert_int_eq(flush_begin(t.device, &flush), 1);
    crash_backend_end(&t.crash, 0, 0);
    fixture_settle();
    ck_assert(!sync_unsynced(&t.device->sync.ledger));
}

static uint64_t unsynced(struct session *session)
{
    return sync_part_unsynced(&t.device->sync.ledger, &session->unsynced, NULL);
}

/* ---- what is counted ---- */

START_TEST(what_was_done_is_counted_for_its_session)
{
    const struct stats *stats = &t.mine->stats;
    const struct stats none = {.reads = 0};
    transfer(t.mine, IO_READ, false, 0);
    transfer(t.mine, IO_READ, false, 0);
    transfer(t.mine, IO_READ, false, 0);
    transfer(t.mine, IO_WRITE, false, 0);
    transfer(t.mine, IO_WRITE, true, 0);
    transfer(t.mine, IO_ZERO, false, 0);
    for (unsigned int i = 0; i < 4; i++)
        transfer(t.mine, IO_DISCARD, false, 0);
    ck_assert_uint_eq(stats->reads, 3);
    ck_assert_uint_eq(stats->read_bytes, 3L * BLOCK);
    ck_assert_uint_eq(stats->writes, 2);
    ck_assert_uint_eq(stats->written_bytes, 2L * BLOCK);
    ck_assert_uint_eq(stats->zeroes, 1);
    ck_assert_uint_eq(stats->discards, 4);
    ck_assert_uint_eq(stats->errors, 0);
    ck_assert_mem_eq(&t.other->stats, &none, sizeof(none));
}
END_TEST

START_TEST(what_failed_is_counted_as_an_error_and_nothing_else)
{
    struct stats errors = {.errors = 4};
    transfer(t.mine, IO_READ, false, -EIO);
    for (unsigned int i = 0; i < CHANGES; i++)
        transfer(t.mine, changes[i], false, -EIO);
    ck_assert_mem_eq(&t.mine->stats, &errors, sizeof(errors));
}
END_TEST

START_TEST(what_is_refused_is_counted_nowhere)
{
    const struct stats none = {.reads = 0};
    is_refused(t.mine, IO_READ, 0, SIZE_BYTES + 1, -EINVAL);
    is_refused(t.mine, IO_WRITE, 0, SIZE_BYTES + 1, -ENOSPC);
    ck_assert_mem_eq(&t.mine->stats, &none, sizeof(none));
    ck_assert_uint_eq(unsynced(t.mine), 0);
}
END_TEST

START_TEST(resize_counts_as_in_flight)
{
    struct gate_ticket ticket;
    pthread_mutex_lock(&t.device->mutex);
    gate_enter(t.device, t.mine, &ticket);
    ck_assert_uint_eq(in_flight(), 1);
    ck_assert_uint_eq(drain_gate_count(&t.mine->transfers), 1);
    gate_leave(t.device, t.mine, ticket);
    pthread_mutex_unlock(&t.device->mutex);
    ck_assert_uint_eq(in_flight(), 0);
}
END_TEST

static void on_drained(struct drain *drain)
{
    *(bool *)drain->user_data = true;
}

START_TEST(drain_waits_for_what_began_before_it_only)
{
    bool drained = false;
    struct drain drain = {
        .loop = &fixture.loops[0].base, .on_done = on_drained, .user_data = &drained};
    const struct io read = {.op = IO_READ, .length_bytes = BLOCK};
    ck_assert_int_eq(begin(t.mine, IO_READ, 0, BLOCK), 0);
    struct gate_ticket before = t.ticket;
    pthread_mutex_lock(&t.device->mutex);
    ck_assert(drain_gate_wait(&t.device->transfers, &drain));
    pthread_mutex_unlock(&t.device->mutex);
    ck_assert_int_eq(begin(t.other, IO_READ, 0, BLOCK), 0);
    (void)fixture_deliver();
    ck_assert(!drained);
    gate_end(t.device, t.mine, &read, before, 0);
    (void)fixture_deliver();
    ck_assert(drained);
    ck_assert_uint_eq(in_flight(), 1);
    gate_end(t.device, t.other, &read, t.ticket, 0);
    ck_assert_uint_eq(in_flight(), 0);
}
END_TEST

/* ---- the ledger ---- */

START_TEST(change_is_unsynced_until_a_sync)
{
    make_durable();
    for (unsigned int i = 0; i < CHANGES; i++) {
        transfer(t.mine, changes[i], false, 0);
        ck_assert_uint_eq(unsynced(t.mine), i + 1);
    }
    ck_assert_uint_eq(sync_unsynced_count(&t.device->sync.ledger), CHANGES);
    ck_assert_uint_eq(unsynced(t.other), 0);
    make_durable();
    ck_assert_uint_eq(unsynced(t.mine), 0);
}
END_TEST

START_TEST(failed_change_is_unsynced_too)
{
    make_durable();
    transfer(t.mine, IO_WRITE, false, -ENOSPC);
    ck_assert_uint_eq(unsynced(t.mine), 1);
}
END_TEST

START_TEST(read_leaves_nothing_unsynced)
{
    make_durable();
    transfer(t.mine, IO_READ, false, 0);
    ck_assert(!sync_unsynced(&t.device->sync.ledger));
    ck_assert(!t.device->sync.at_close);
}
END_TEST

START_TEST(fua_write_leaves_nothing_unsynced)
{
    make_durable();
    transfer(t.mine, IO_WRITE, true, 0);
    ck_assert_uint_eq(unsynced(t.mine), 0);
    ck_assert(!sync_unsynced(&t.device->sync.ledger));
}
END_TEST

START_TEST(failed_fua_write_is_unsynced)
{
    make_durable();
    transfer(t.mine, IO_WRITE, true, -ENOSPC);
    ck_assert_uint_eq(unsynced(t.mine), 1);
}
END_TEST

START_TEST(fua_write_covers_no_other)
{
    make_durable();
    transfer(t.other, IO_WRITE, false, 0);
    transfer(t.mine, IO_WRITE, true, 0);
    ck_assert_uint_eq(unsynced(t.other), 1);
    ck_assert(sync_unsynced(&t.device->sync.ledger));
}
END_TEST

START_TEST(change_of_a_session_with_a_sync_level_is_synced_at_close)
{
    transfer(t.other, IO_WRITE, false, 0); /* SESSION_SYNC_NONE */
    ck_assert(!t.device->sync.at_close);
    transfer(t.mine, IO_WRITE, false, 0);
    ck_assert(t.device->sync.at_close);
}
END_TEST

static TCase *count_tests(void)
{
    TCase *tests = tcase_create("counts");
    tcase_add_checked_fixture(tests, gate_setup, gate_teardown);
    tcase_add_test(tests, what_was_done_is_counted_for_its_session);
    tcase_add_test(tests, what_failed_is_counted_as_an_error_and_nothing_else);
    tcase_add_test(tests, what_is_refused_is_counted_nowhere);
    tcase_add_test(tests, resize_counts_as_in_flight);
    tcase_add_test(tests, drain_waits_for_what_began_before_it_only);
    tcase_add_test(tests, change_is_unsynced_until_a_sync);
    tcase_add_test(tests, failed_change_is_unsynced_too);
    tcase_add_test(tests, read_leaves_nothing_unsynced);
    tcase_add_test(tests, fua_write_leaves_nothing_unsynced);
    tcase_add_test(tests, failed_fua_write_is_unsynced);
    tcase_add_test(tests, fua_write_covers_no_other);
    tcase_add_test(tests, change_of_a_session_with_a_sync_level_is_synced_at_close);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("gate counts");
    suite_add_tcase(suite, count_tests());
    return suite_run(suite);
}
