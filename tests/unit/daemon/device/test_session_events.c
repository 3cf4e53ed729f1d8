/* SPDX-License-Identifier: MIT */
/* What a session's owner is told: events, whether or not its client reads, and that it is thrown
 * out. */
#include "tests/unit/daemon/device/session_fixture.h"

/* ---- what its owner is told ---- */

static void leave(struct session *session, unsigned int events)
{
    pthread_mutex_lock(&session->device->mutex);
    notify_session(session, events);
    pthread_mutex_unlock(&session->device->mutex);
}

START_TEST(event_is_reported_with_how_the_device_is_now)
{
    struct session *session = open_session();
    leave(session, SESSION_EVENT_RESIZED);
    ck_assert_uint_eq(t.reports, 0); /* not by the thread that leaves it */
    session->device->size_bytes = 7L * CRASH_BLOCK_BYTES;
    session->device->generation = 42;
    settle();
    ck_assert_uint_eq(t.reports, 1);
    ck_assert_uint_eq(t.report.events, SESSION_EVENT_RESIZED);
    ck_assert_uint_eq(t.report.size_bytes, 7L * CRASH_BLOCK_BYTES);
    ck_assert_uint_eq(t.report.generation, 42);
    ck_assert_int_eq(t.report.failed, 0);
    session_close(session);
}
END_TEST

START_TEST(events_that_come_together_are_one_report)
{
    struct session *session = open_session();
    leave(session, SESSION_EVENT_RESIZED);
    leave(session, SESSION_EVENT_RESIZED);
    leave(session, SESSION_EVENT_SYNC_FAILED);
    settle();
    ck_assert_uint_eq(t.reports, 1);
    ck_assert_uint_eq(t.report.events, SESSION_EVENT_RESIZED | SESSION_EVENT_SYNC_FAILED);
    leave(session, SESSION_EVENT_RESIZED);
    settle();
    ck_assert_uint_eq(t.reports, 2);
    ck_assert_uint_eq(t.report.events, SESSION_EVENT_RESIZED);
    session_close(session);
}
END_TEST

START_TEST(client_that_does_not_read_is_told_once_when_it_does)
{
    struct session *session = open_session();
    t.client_reads = false;
    leave(session, SESSION_EVENT_RESIZED);
    settle();
    leave(session, SESSION_EVENT_SYNC_FAILED);
    settle();
    ck_assert_uint_eq(t.reports, 0);
    session_send_report(session);
    ck_assert_uint_eq(t.reports, 1);
    ck_assert_uint_eq(t.report.events, SESSION_EVENT_RESIZED | SESSION_EVENT_SYNC_FAILED);
    session_send_report(session);
    ck_assert_uint_eq(t.reports, 1); /* nothing new */
    session_close(session);
}
END_TEST

START_TEST(every_session_of_the_device_is_told_but_the_one_named)
{
    struct claim second = {.resized = 0};
    struct device *device = NULL;
    struct session *session = open_session();
    ck_assert_int_eq(claim(&second, 0, &device), REGISTRY_EXISTING);
    struct session *other = enter(device);
    pthread_mutex_lock(&device->mutex);
    notify_device(device, session, SESSION_EVENT_RESIZED);
    pthread_mutex_unlock(&device->mutex);
    ck_assert_uint_eq(session->news.events, 0);
    settle();
    ck_assert_uint_eq(t.reports, 1);
    session_close(session);
    session_close(other);
}
END_TEST

START_TEST(event_on_its_way_to_a_session_that_ends_is_dropped)
{
    struct session *session = open_session();
    leave(session, SESSION_EVENT_RESIZED);
    session_close(session);
    ck_assert_uint_eq(t.gone, 1);
    settle();
    ck_assert_uint_eq(t.reports, 0);
}
END_TEST

/* ---- thrown out ---- */

static bool ended;

static void on_ended(struct letter *letter)
{
    (void)letter;
    ck_assert_uint_eq(t.gone, 1);
    ended = true;
}

START_TEST(evicted_session_is_told_and_then_closes)
{
    struct session_ending ending = {.loop = &fixture.loops[1].base, .letter.deliver = on_ended};
    struct session *session = open_session();
    ck_assert(registry_evict(&fixture.registry, session->number, &ending));
    ck_assert_uint_eq(t.evicted, 0); /* on its own loop */
    settle();
    ck_assert_uint_eq(t.evicted, 1);
    ck_assert_uint_eq(t.gone, 1);
    ck_assert(ended);
    ck_assert_uint_eq(t.evictions, 1);
    ck_assert_uint_eq(t.closings, 0);
    ck_assert_uint_eq(t.reports, 0);
}
END_TEST

START_TEST(evicted_session_ends_with_its_last_request_whether_or_not_its_client_reads)
{
    struct session_ending ending = {.loop = &fixture.loops[1].base, .letter.deliver = on_ended};
    struct session *session = open_session();
    t.client_reads = false;
    session_hold(session);
    ck_assert(registry_evict(&fixture.registry, session->number, &ending));
    settle();
    ck_assert_uint_eq(t.evicted, 1);
    ck_assert_uint_eq(t.gone, 0);
    ck_assert(!ended);
    session_drop(session);
    settle();
    ck_assert(ended);
}
END_TEST

/* The client begins to read again while the letter of the eviction is on its way. */
START_TEST(report_does_not_take_an_eviction_away)
{
    struct session_ending ending = {.loop = &fixture.loops[1].base, .letter.deliver = on_ended};
    struct session *session = open_session();
    t.client_reads = false;
    leave(session, SESSION_EVENT_RESIZED);
    ck_assert(registry_evict(&fixture.registry, session->number, &ending));
    session_send_report(session);
    ck_assert_uint_eq(t.reports, 1);
    ck_assert_uint_eq(t.report.events, SESSION_EVENT_RESIZED);
    settle();
    ck_assert_uint_eq(t.evicted, 1);
    ck_assert(ended);
}
END_TEST

START_TEST(session_that_closes_already_is_not_evicted)
{
    struct session_ending ending = {.loop = &fixture.loops[1].base, .letter.deliver = on_ended};
    struct session *session = open_session();
    session_hold(session);
    session_close(session);
    ck_assert(registry_evict(&fixture.registry, session->number, &ending));
    settle();
    ck_assert_uint_eq(t.evicted, 0);
    session_drop(session);
    settle();
    ck_assert(ended); /* who asked for it is told all the same */
    ck_assert_uint_eq(t.closings, 1);
    ck_assert_uint_eq(t.evictions, 0);
}
END_TEST

START_TEST(nobody_is_evicted_by_another_number)
{
    struct session_ending ending = {.loop = &fixture.loops[1].base, .letter.deliver = on_ended};
    struct session *session = open_session();
    ck_assert(!registry_evict(&fixture.registry, session->number + 1, &ending));
    settle();
    ck_assert_uint_eq(t.evicted, 0);
    session_close(session);
}
END_TEST

static TCase *event_tests(void)
{
    TCase *tests = tcase_create("events");
    tcase_add_checked_fixture(tests, session_setup, session_teardown);
    tcase_add_test(tests, event_is_reported_with_how_the_device_is_now);
    tcase_add_test(tests, events_that_come_together_are_one_report);
    tcase_add_test(tests, client_that_does_not_read_is_told_once_when_it_does);
    tcase_add_test(tests, every_session_of_the_device_is_told_but_the_one_named);
    tcase_add_test(tests, event_on_its_way_to_a_session_that_ends_is_dropped);
    tcase_add_test(tests, evicted_session_is_told_and_then_closes);
    tcase_add_test(tests,
                   evicted_session_ends_with_its_last_request_whether_or_not_its_client_reads);
    tcase_add_test(tests, report_does_not_take_an_eviction_away);
    tcase_add_test(tests, session_that_closes_already_is_not_evicted);
    tcase_add_test(tests, nobody_is_evicted_by_another_number);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("session events");
    suite_add_tcase(suite, event_tests());
    return suite_run(suite);
}
