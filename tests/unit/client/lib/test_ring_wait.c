/* SPDX-License-Identifier: MIT */
/* Waiting for libblkd's rings: limits that make parts wait, threads, the pollable descriptor. */
#include <sched.h>
#include <sys/wait.h>

#include "tests/unit/client/lib/fake_ring.h"

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;
static int called, failed;

static void setup(void)
{
    (void)unsetenv("BLKD_TIER");
    fake_ring_init(&fake);
    called = failed = 0;
}

static void begin(void)
{
    fake_start(&fake);
    connection = fake_connect_tier(&fake, BLKD_TIER_RING);
    device = fake_open_device(connection);
    ck_assert_int_eq(blkd_flush(device), 0); /* the rings are there */
}

static void end(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_ring_stop(&fake);
}

static void on_called(void *user_data, int result)
{
    bool *one_called = user_data;

    called++;
    if (one_called != NULL)
        *one_called = true;
    if (result < 0)
        failed = result;
}

static void dispatch_until(int count)
{
    while (called < count)
        ck_assert_int_ge(blkd_dispatch(connection, 10000), 0);
}

static bool poll_readable(int timeout_ms)
{
    struct pollfd poll_fd = {.fd = blkd_get_fd(connection), .events = POLLIN};

    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void hold(struct fake *daemon)
{
    fake_ring_of(daemon)->holds = true;
    fake_ring_tell(daemon); /* so that the test knows */
}

/* Lets the daemon serve what it holds, now and from now on. */
static void serve_held(struct fake *daemon)
{
    fake_ring_of(daemon)->holds = false;
    fake_ring_serve_held(daemon);
}

/* From now on submissions stay unanswered until fake_ring_poke. */
static void begin_held(void)
{
    fake_rings.on_poke = hold;
    begin();
    fake_ring_poke();
    ck_assert_int_eq(poll_readable(5000), 1);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
    fake_rings.on_poke = serve_held;
}

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
        while (poll_readable(1)) /* the wake-up for what was found without it */
            ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
        ck_assert(!poll_readable(i == 1 ? 20 : 0));
        fake_ring_poke();
        ck_assert(poll_readable(5000));
        while (called < i) {
            ck_assert(poll_readable(5000));
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
    begin();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called_again, NULL), 0);
    while (called < 1000) {
        ck_assert(poll_readable(5000));
        ck_assert_int_ge(blkd_dispatch(connection, 0), 0);
    }
    while (called < 1003)
        ck_assert_int_ge(blkd_dispatch(connection, 5000), 0);
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
    ck_assert(poll_readable(5000));
    dispatch_until(1);
    end();
}
END_TEST

/* What a waiting call finds for others makes the descriptor readable and calls nobody back. */
START_TEST(found_by_a_waiting_call)
{
    begin();
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(blkd_discard_async(device, 0, 1, on_called, NULL), 0);
        ck_assert_int_eq(blkd_flush(device), 0);
        ck_assert_int_eq(called, i);
        ck_assert(poll_readable(5000));
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

    begin();
    /* A daemon that answers every flush at once keeps the ring from ever being empty; pings go
     * through the socket. */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called_again, NULL), 0);
    ck_assert_int_eq(blkd_ping_async(connection, on_called, &ping_called), 0);
    while (!ping_called)
        ck_assert_int_ge(blkd_dispatch(connection, 5000), 0);
    while (called < 1003)
        ck_assert_int_ge(blkd_dispatch(connection, 5000), 0);
    end();
}
END_TEST

/* ---- threads ---- */

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
    begin();
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_loop, (void *)(i + 1)), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
        while (called < i) {
            ck_assert_msg(poll_readable(20000), "a wake-up was lost");
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
    begin();
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
    ck_assert(poll_readable(5000));
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
    struct blkd_options options = BLKD_OPTIONS_INIT;

    fake_rings.on_submission = wait_for_sleep;
    fake_start(&fake);
    options.socket_path = fake.path;
    options.tier = BLKD_TIER_RING;
    options.busy_poll_us = 0;
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

/* ---- the end ---- */

static void hang_up(struct fake *daemon)
{
    fake_hang_up(daemon);
}

START_TEST(lost_with_parts_in_flight)
{
    uint8_t *memory;
    uint8_t bytes[FAKE_SECTOR];
    struct iovec list[2] = {{NULL, FAKE_SECTOR}, {bytes, FAKE_SECTOR}};

    fake_rings.entries = 8;
    fake_rings.on_poke = hold;
    begin();
    memory = fake_shared_memory(connection, 4096);
    memset(memory, 0x11, 4096);
    fake_ring_poke();
    ck_assert(poll_readable(5000));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
    list[0].iov_base = memory;
    for (int i = 0; i < 20; i++) /* more than are in flight */
        ck_assert_int_eq(blkd_read_async(device, 0, &list[i % 2], 1, on_called, NULL), 0);
    fake_rings.on_poke = hang_up;
    fake_ring_poke();
    dispatch_until(20);
    ck_assert_int_eq(failed, -ENOTCONN);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    ck_assert_int_eq(blkd_read(device, 0, list, 2), -ENOTCONN);
    memset(memory, 0x22, 4096); /* still memory */
    pthread_mutex_lock(&connection->mutex);
    ck_assert_int_eq(memory_add_arena(connection, 4096), -ENOTCONN);
    ck_assert_int_eq(
        memory_remove_arena(connection, arena_free(&connection->rings.shared.set, memory)), 0);
    pthread_mutex_unlock(&connection->mutex);
    end();
}
END_TEST

START_TEST(disconnect_with_parts_in_flight)
{
    uint8_t bytes[FAKE_SECTOR];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin_held();
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(blkd_read_async(device, 0, &iov, 1, on_called, NULL), 0);
    blkd_disconnect(connection);
    ck_assert_int_eq(called, 5);
    ck_assert_int_eq(failed, -ENOTCONN);
    fake_ring_stop(&fake);
}
END_TEST

/* What the device looked like is not overtaken by its close. */
START_TEST(close_waits_for_parts)
{
    begin_held();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    ck_assert_int_eq(blkd_close_async(device, on_called, NULL), 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_uint_eq(fake.closes, 0);
    fake_ring_poke();
    dispatch_until(4);
    ck_assert_uint_eq(fake.closes, 1);
    blkd_disconnect(connection);
    fake_ring_stop(&fake);
}
END_TEST

/* The child can do nothing with the rings, and disconnecting there harms nobody. */
START_TEST(forked_child)
{
    uint8_t *memory;
    int status;
    pid_t child;

    begin();
    memory = fake_shared_memory(connection, 4096);
    memset(memory, 1, 4096);
    child = fork();
    if (child == 0) {
        enum blkd_tier tier;
        bool fine = blkd_flush(device) == -ENOTCONN &&
                    blkd_get_tier(connection, &tier) == -ENOTCONN &&
                    madvise(memory, 4096, MADV_NORMAL) < 0;
        blkd_disconnect(connection);
        _exit(fine ? 0 : 1);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(blkd_read(device, 0, &(struct iovec){memory, 4096}, 1), 0);
    fake_assert_content(memory, 0, 4096);
    end();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("client rings, waiting");
    TCase *tc = tcase_create("all");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, no_more_in_flight_than_there_are_entries);
    tcase_add_test(tc, bounce_memory_is_waited_for);
    tcase_add_test(tc, parts_take_turns);
    tcase_add_test(tc, descriptor_becomes_readable);
    tcase_add_test(tc, callbacks_that_submit);
    tcase_add_test(tc, waiting_call_beside_pending_ones);
    tcase_add_test(tc, found_by_a_waiting_call);
    tcase_add_test(tc, dispatch_times_out);
    tcase_add_test(tc, events_arrive_while_the_ring_is_busy);
    tcase_add_test(tc, threads_that_wait_beside_one_that_polls);
    tcase_add_test(tc, threads_that_wait_beside_one_that_dispatches);
    tcase_add_test(tc, submitted_while_another_sleeps);
    tcase_add_test(tc, without_spinning);
    tcase_add_test(tc, lost_with_parts_in_flight);
    tcase_add_test(tc, disconnect_with_parts_in_flight);
    tcase_add_test(tc, close_waits_for_parts);
    tcase_add_test(tc, forked_child);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failures;

    srunner_run_all(runner, CK_NORMAL);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
