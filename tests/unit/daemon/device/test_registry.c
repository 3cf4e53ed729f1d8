/* SPDX-License-Identifier: MIT */
/* The registry: an open finds the device that is there, waits for one that is being closed, or
 * makes it; the last session's end closes it, and what holds it defers that. */
#include "tests/unit/daemon/device/session_fixture.h"

static unsigned int retries;
static bool closed_at_retry;

static void on_retry(struct claim *claim)
{
    (void)claim;
    retries++;
    closed_at_retry = t.backends[0].closed;
}

static struct claim new_claim(void)
{
    return (struct claim){.resized = registry_resized(&fixture.registry), .on_retry = on_retry};
}

/* ---- claims ---- */

START_TEST(first_claim_makes_the_device)
{
    struct claim opener = new_claim();
    struct device *device = NULL;
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_NEW);
    ck_assert_ptr_eq(device->backend, &t.backends[0].backend);
    ck_assert_uint_eq(device->registration.session_count, 1);
    ck_assert_ptr_eq(TAILQ_FIRST(&fixture.registry.devices), device);
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
}
END_TEST

START_TEST(second_claim_finds_it_and_leaves_the_backend_to_the_caller)
{
    struct claim opener = new_claim();
    const struct backend_info info = fixture_info(0);
    struct device *device = NULL;
    struct device *again = NULL;
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_NEW);
    opener.loop = &fixture.loops[0].base;
    ck_assert_int_eq(
        registry_claim(&fixture.registry, &opener, "disk", &t.backends[1].backend, &info, &again),
        REGISTRY_EXISTING);
    ck_assert_ptr_eq(again, device);
    ck_assert_ptr_eq(device->backend, &t.backends[0].backend);
    ck_assert_uint_eq(device->registration.session_count, 2);
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
    settle();
    ck_assert(!t.backends[1].closed);
}
END_TEST

START_TEST(another_identity_is_another_device)
{
    struct claim opener = new_claim();
    struct device *device = NULL;
    struct device *other = NULL;
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_NEW);
    ck_assert_int_eq(claim(&opener, 1, &other), REGISTRY_NEW);
    ck_assert_ptr_ne(device, other);
    ck_assert_uint_gt(other->number, device->number);
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
    registry_release(&fixture.registry, other, &fixture.loops[0], t.user);
}
END_TEST

START_TEST(claim_of_a_size_from_before_a_resize_looks_again)
{
    struct claim opener = new_claim();
    struct claim early = new_claim();
    struct device *device = NULL;
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_NEW);
    device->resized = true;
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
    settle();
    crash_backend_init(&t.backends[0]);
    ck_assert_int_eq(claim(&early, 0, &device), REGISTRY_STALE);
    early = new_claim();
    ck_assert_int_eq(claim(&early, 0, &device), REGISTRY_NEW);
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
}
END_TEST

/* ---- closing ---- */

START_TEST(device_stays_open_while_a_session_has_it)
{
    struct claim opener = new_claim();
    struct device *device = NULL;
    struct session *session = open_session();
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_EXISTING);
    struct session *other = enter(device);
    session_close(session);
    settle();
    ck_assert_int_eq(device->registration.state, DEVICE_OPEN);
    ck_assert_uint_eq(t.devices_closed, 0);
    session_close(other);
    settle();
    ck_assert(t.backends[0].closed);
    ck_assert_uint_eq(t.devices_closed, 1);
    ck_assert(TAILQ_EMPTY(&fixture.registry.devices));
    ck_assert(!registry_has_failed(&fixture.registry));
}
END_TEST

START_TEST(what_was_written_is_synced_before_the_close)
{
    struct session *session = open_session();
    struct device *device = session->device;
    device->sync.at_close = true;
    session_close(session);
    ck_assert_uint_eq(t.backends[0].syncs_held, 1);
    ck_assert_int_eq(device->registration.state, DEVICE_CLOSING);
    settle();
    ck_assert(t.backends[0].closed);
}
END_TEST

START_TEST(device_whose_last_sync_fails_is_kept_for_whoever_opens_it_next)
{
    struct claim waiting = new_claim();
    struct device *device = NULL;
    struct device *again = NULL;
    struct session *session = open_session();
    device = session->device;
    device->sync.at_close = true;
    session_close(session);
    ck_assert_int_eq(claim(&waiting, 0, &again), REGISTRY_WAIT);
    crash_backend_end(&t.backends[0], 0, -EIO);
    fixture_settle();
    ck_assert(!t.backends[0].closed);
    ck_assert(registry_has_failed(&fixture.registry));
    ck_assert_uint_eq(retries, 1);
    ck_assert_int_eq(claim(&waiting, 0, &again), REGISTRY_EXISTING);
    ck_assert_ptr_eq(again, device);
    ck_assert_int_eq(again->sync.ledger.failed, -EIO);
    registry_release(&fixture.registry, again, &fixture.loops[0], t.user);
}
END_TEST

START_TEST(claim_of_a_device_that_is_being_closed_waits_until_it_is)
{
    struct claim waiting = new_claim();
    struct device *device = NULL;
    struct session *session = open_session();
    session_close(session);
    ck_assert_int_eq(claim(&waiting, 0, &device), REGISTRY_WAIT);
    ck_assert_ptr_null(device);
    ck_assert_uint_eq(retries, 0);
    settle();
    ck_assert_uint_eq(retries, 1);
    ck_assert(closed_at_retry);
    crash_backend_init(&t.backends[0]);
    ck_assert_int_eq(claim(&waiting, 0, &device), REGISTRY_NEW);
    registry_release(&fixture.registry, device, &fixture.loops[0], t.user);
}
END_TEST

/* ---- what holds it ---- */

START_TEST(hold_defers_the_close_until_it_is_dropped)
{
    struct claim waiting = new_claim();
    struct session *session = open_session();
    struct device *device = session->device;
    struct device *again = NULL;
    hold_take(device);
    hold_take(device);
    session_close(session);
    (void)fixture_deliver();
    ck_assert_int_eq(device->registration.state, DEVICE_CLOSING);
    ck_assert_int_eq(claim(&waiting, 0, &again), REGISTRY_WAIT);
    hold_drop(device);
    (void)fixture_deliver();
    ck_assert_int_eq(device->registration.state, DEVICE_CLOSING);
    ck_assert_uint_eq(retries, 0);
    hold_drop(device);
    settle();
    ck_assert(t.backends[0].closed);
    ck_assert_uint_eq(t.devices_closed, 1);
    ck_assert_uint_eq(retries, 1);
}
END_TEST

START_TEST(hold_that_ends_before_the_last_session_closes_nothing)
{
    struct session *session = open_session();
    struct device *device = session->device;
    hold_take(device);
    hold_drop(device);
    settle();
    ck_assert_int_eq(device->registration.state, DEVICE_OPEN);
    session_close(session);
}
END_TEST

START_TEST(device_is_found_by_its_number_while_it_is_open)
{
    struct session *session = open_session();
    struct device *device = session->device;
    uint64_t number = device->number;
    ck_assert_ptr_null(registry_find(&fixture.registry, number + 1));
    ck_assert_ptr_eq(registry_find(&fixture.registry, number), device);
    ck_assert_uint_eq(atomic_load(&device->registration.holds), 1);
    session_close(session);
    ck_assert_ptr_null(registry_find(&fixture.registry, number)); /* it closes */
    hold_drop(device);
    settle();
    ck_assert_ptr_null(registry_find(&fixture.registry, number));
}
END_TEST

START_TEST(sessions_are_in_the_order_of_their_numbers)
{
    struct claim opener = new_claim();
    struct device *device = NULL;
    struct session *first = open_session();
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_EXISTING);
    struct session *second = enter(device);
    registry_remove_session(&fixture.registry, first);
    registry_add_session(&fixture.registry, first);
    ck_assert_ptr_eq(TAILQ_FIRST(&fixture.registry.sessions), first);
    ck_assert_ptr_eq(TAILQ_NEXT(first, registry_link), second);
    session_close(first);
    session_close(second);
}
END_TEST

static TCase *registry_tests(void)
{
    TCase *tests = tcase_create("registry");
    tcase_add_checked_fixture(tests, session_setup, session_teardown);
    tcase_add_test(tests, first_claim_makes_the_device);
    tcase_add_test(tests, second_claim_finds_it_and_leaves_the_backend_to_the_caller);
    tcase_add_test(tests, another_identity_is_another_device);
    tcase_add_test(tests, claim_of_a_size_from_before_a_resize_looks_again);
    tcase_add_test(tests, device_stays_open_while_a_session_has_it);
    tcase_add_test(tests, what_was_written_is_synced_before_the_close);
    tcase_add_test(tests, device_whose_last_sync_fails_is_kept_for_whoever_opens_it_next);
    tcase_add_test(tests, claim_of_a_device_that_is_being_closed_waits_until_it_is);
    tcase_add_test(tests, hold_defers_the_close_until_it_is_dropped);
    tcase_add_test(tests, hold_that_ends_before_the_last_session_closes_nothing);
    tcase_add_test(tests, device_is_found_by_its_number_while_it_is_open);
    tcase_add_test(tests, sessions_are_in_the_order_of_their_numbers);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("registry");
    suite_add_tcase(suite, registry_tests());
    return suite_run(suite);
}
