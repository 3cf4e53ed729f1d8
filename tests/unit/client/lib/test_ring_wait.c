/* SPDX-License-Identifier: MIT */
/* Waiting for libblkd's rings: limits that make parts wait, the pollable descriptor. */
#include "tests/unit/client/lib/fake_ring_wait.h"

/* ---- limits ---- */

START_TEST(no_more_in_flight_than_there_are_entries)
{
    fake_rings.entries = 8;
    begin_held();
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    fake_ring_poke();
    dispatch_until(100);
    ck_assert_int_eq(failed, 0);
    end();
    ck_assert_uint_eq(fake_rings.most_unanswered, 8);
    ck_assert_uint_eq(fake_rings.logged, 101);
}
END_TEST

START_TEST(bounce_memory_is_waited_for)
{
    enum { COUNT = 40 };
    uint8_t *bytes = malloc((size_t)COUNT * RINGS_BOUNCE_PART_BYTES);
    struct iovec list[COUNT];

    fake.disk_bytes = (size_t)COUNT * RINGS_BOUNCE_PART_BYTES;
    begin_held();
    for (uint32_t i = 0; i < COUNT; i++) {
        list[i] =
            (struct iovec){bytes + (size_t)i * RINGS_BOUNCE_PART_BYTES, RINGS_BOUNCE_PART_BYTES};
        ck_assert_int_eq(blkd_read_async(device,
                                         (uint64_t)i * RINGS_BOUNCE_PART_BYTES / FAKE_SECTOR,
                                         &list[i], 1, on_called, NULL),
                         0);
    }
    fake_ring_poke();
    dispatch_until(COUNT);
    ck_assert_int_eq(failed, 0);
    fake_assert_content(bytes, 0, (size_t)COUNT * RINGS_BOUNCE_PART_BYTES);
    end();
    ck_assert_uint_eq(fake_rings.most_unanswered, RINGS_BOUNCE_BYTES / RINGS_BOUNCE_PART_BYTES);
    free(bytes);
}
END_TEST

/* A huge transfer does not hold up what comes after. */
START_TEST(parts_take_turns)
{
    const size_t length = 4 * 1024 * 1024;
    uint8_t *bytes = malloc(length);
    struct iovec iov = {bytes, length};
    uint32_t place = 0;

    begin_held();
    ck_assert_int_eq(blkd_read_async(device, 0, &iov, 1, on_called, NULL), 0);
    ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    fake_ring_poke();
    dispatch_until(2);
    end();
    for (uint32_t i = 1; i < fake_rings.logged; i++)
        if (fake_rings.log[i].operation == RING_FLUSH)
            place = i;
    ck_assert_uint_gt(place, 0);
    ck_assert_uint_lt(place, fake_rings.logged - 4);
    free(bytes);
}
END_TEST

/* ---- the pollable descriptor ---- */

START_TEST(descriptor_becomes_readable)
{
    begin_held();
    fake_rings.on_poke = fake_ring_serve_held; /* and holds what comes */
    for (int i = 1; i <= 20; i++) {
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
        /* The wake-up for what was found without it came before this answer. */
        ck_assert_int_eq(blkd_ping(connection), 0);
        while (fake_is_readable(connection, 0))
            ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
        ck_assert(!fake_is_readable(connection, i == 1 ? 20 : 0));
        fake_ring_poke();
        ck_assert(fake_is_readable(connection, -1));
        while (called < i) {
            ck_assert(fake_is_readable(connection, -1));
            ck_assert_int_ge(blkd_dispatch(connection, 0), 0);
        }
    }
    end();
}
END_TEST

/* Also for what is submitted by callbacks, and when dispatching leaves something in flight. */
static void on_called_again(void *user_data, int result)
{
    ck_assert_int_eq(result, 0);
    if (++called < 1000)
        ck_assert_int_eq(blkd_flush_async(device, on_called_again, user_data), 0);
}

START_TEST(callbacks_that_submit)
{
    begin_rings();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called_again, NULL), 0);
    while (called < 1000) {
        ck_assert(fake_is_readable(connection, -1));
        ck_assert_int_ge(blkd_dispatch(connection, 0), 0);
    }
    while (called < 1003)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    end();
}
END_TEST

/* A call that waits leaves those in flight that do not. */
START_TEST(waiting_call_beside_pending_ones)
{
    begin_held();
    ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_int_eq(called, 0);
    fake_ring_poke();
    ck_assert(fake_is_readable(connection, -1));
    dispatch_until(1);
    end();
}
END_TEST

/* What a waiting call finds for others makes the descriptor readable and calls nobody back. */
START_TEST(found_by_a_waiting_call)
{
    begin_rings();
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(blkd_discard_async(device, 0, 1, on_called, NULL), 0);
        ck_assert_int_eq(blkd_flush(device), 0);
        ck_assert_int_eq(called, i);
        ck_assert(fake_is_readable(connection, -1));
        dispatch_until(i + 1);
    }
    end();
}
END_TEST

START_TEST(dispatch_times_out)
{
    begin_held();
    ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(blkd_dispatch(connection, i * 10), 0);
    fake_ring_poke();
    dispatch_until(1);
    end();
}
END_TEST

START_TEST(events_arrive_while_the_ring_is_busy)
{
    bool ping_called = false;

    begin_rings();
    /* A daemon that answers every flush at once keeps the ring from ever being empty; pings go
     * through the socket. */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called_again, NULL), 0);
    ck_assert_int_eq(blkd_ping_async(connection, on_called, &ping_called), 0);
    while (!ping_called)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    while (called < 1003)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client rings, waiting");
    TCase *tests = tcase_create("all");

    tcase_add_checked_fixture(tests, setup_calls, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, no_more_in_flight_than_there_are_entries);
    tcase_add_test(tests, bounce_memory_is_waited_for);
    tcase_add_test(tests, parts_take_turns);
    tcase_add_test(tests, descriptor_becomes_readable);
    tcase_add_test(tests, callbacks_that_submit);
    tcase_add_test(tests, waiting_call_beside_pending_ones);
    tcase_add_test(tests, found_by_a_waiting_call);
    tcase_add_test(tests, dispatch_times_out);
    tcase_add_test(tests, events_arrive_while_the_ring_is_busy);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
