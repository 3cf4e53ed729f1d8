/* SPDX-License-Identifier: MIT */
/* Threads that wait for libblkd's rings beside each other, with and without spinning. */
#include <sched.h>

#include "tests/unit/client/lib/fake_ring_wait.h"

enum { THREADS = 4, ROUNDS = 3000 };

static void *read_loop(void *argument)
{
    unsigned int seed = (unsigned int)(uintptr_t)argument;
    uint8_t bytes[8 * FAKE_SECTOR];

    for (int i = 0; i < ROUNDS; i++) {
        size_t length = (1 + (size_t)rand_r(&seed) % 8) * FAKE_SECTOR;
        uint64_t sector = (uint64_t)rand_r(&seed) % 1000;
        struct iovec iov = {bytes, length};

        if (i % 50 == 0)
            ck_assert_int_eq(blkd_ping(connection), 0);
        ck_assert_int_eq(blkd_read(device, sector, &iov, 1), 0);
        fake_assert_content(bytes, sector * FAKE_SECTOR, length);
    }
    return NULL;
}

static bool forget(struct fake *daemon, const struct ring_submission *submission)
{
    if (fake_ring_of(daemon)->logged == FAKE_LOG_MAX)
        fake_ring_of(daemon)->logged = fake_ring_of(daemon)->answered = 0;
    (void)submission;
    return false;
}

START_TEST(threads_that_wait_beside_one_that_polls)
{
    pthread_t threads[THREADS];

    fake_rings.on_submission = forget;
    begin_rings();
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_loop, (void *)(i + 1)), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
        while (called < i) {
            ck_assert_msg(fake_is_readable(connection, -1), "a wake-up was lost");
            ck_assert_int_ge(blkd_dispatch(connection, 0), 0);
        }
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    ck_assert_int_eq(failed, 0);
    end();
}
END_TEST

START_TEST(threads_that_wait_beside_one_that_dispatches)
{
    pthread_t threads[THREADS];

    fake_rings.on_submission = forget;
    begin_rings();
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_loop, (void *)(i + 9)), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
        dispatch_until(i);
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    ck_assert_int_eq(failed, 0);
    end();
}
END_TEST

static void *wait_for_flush(void *argument)
{
    (void)argument;
    return (void *)(intptr_t)blkd_flush(device);
}

/* The thread that reads sleeps; what another one submits is answered all the same. */
START_TEST(submitted_while_another_sleeps)
{
    pthread_t thread;
    void *result;

    begin_held();
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_flush, NULL), 0);
    while (fake_rings.logged < 2)
        (void)poll(NULL, 0, 1);
    ck_assert_int_eq(blkd_discard_async(device, 0, 1, on_called, NULL), 0);
    fake_ring_poke();
    ck_assert(fake_is_readable(connection, -1));
    (void)pthread_join(thread, &result);
    ck_assert_int_eq((int)(intptr_t)result, 0);
    dispatch_until(1);
    end();
}
END_TEST

static bool wait_for_sleep(struct fake *daemon, const struct ring_submission *submission)
{
    struct ring_words *words = (struct ring_words *)(void *)fake_ring_of(daemon)->memory;

    (void)submission;
    while (atomic_load(&words[1].need_wakeup) == 0)
        (void)sched_yield();
    return false;
}

/* Every completion finds the client asleep, or about to sleep. */
START_TEST(without_spinning)
{
    struct blkd_options options = {0};

    fake_rings.on_submission = wait_for_sleep;
    fake_start(&fake);
    options.socket_path = fake.path;
    options.tier = BLKD_TIER_RING;
    options.busy_poll_us = BLKD_BUSY_POLL_NEVER;
    ck_assert_int_eq(blkd_connect(&options, &connection), 0);
    device = fake_open_device(connection);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(blkd_flush(device), 0);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    dispatch_until(8);
    end();
    ck_assert_uint_eq(fake_rings.ready_events, 208);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client rings, threads");
    TCase *tests = tcase_create("all");

    tcase_add_checked_fixture(tests, setup_calls, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, threads_that_wait_beside_one_that_polls);
    tcase_add_test(tests, threads_that_wait_beside_one_that_dispatches);
    tcase_add_test(tests, submitted_while_another_sleeps);
    tcase_add_test(tests, without_spinning);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
