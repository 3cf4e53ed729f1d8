/* SPDX-License-Identifier: MIT */
/* A daemon that stops, and one that is killed, with rings in use: every call has an end, and what
 * was shared memory stays memory. */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { DEPTH = 64, PAGE = SCENE_PAGE, SECTORS = PAGE / 512, PENDING = 1 };

/* A direct transfer of the image's first pages takes its time: long enough to be seen, and shorter
 * than a daemon takes to stop, or longer than a test. */
#define RULES_SLOW "any[0-65535]=delay:2s"
#define RULES_HUNG "any[0-65535]=delay:600s"

static struct blkd *connection;
static uint8_t *buffer; /* shared, DEPTH pages */

#define LIBRARY_OK(expression)                                                                     \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == 0, "%s: %d: %s", #expression, result_, blkd_error_message());     \
    } while (0)

static struct blkd_device *open_image(bool buffered)
{
    struct blkd_config config = {0};
    struct blkd_device *device = NULL;
    config.path = buffered ? scene.image : scene.direct_image;
    config.direct = !buffered;
    LIBRARY_OK(blkd_open(connection, &config, &device));
    return device;
}

static void connect_by_ring(void)
{
    struct blkd_options options = {0};
    enum blkd_tier tier = BLKD_TIER_SOCKET;
    void *memory = NULL;
    options.socket_path = scene.daemon.socket_path;
    options.tier = BLKD_TIER_RING;
    LIBRARY_OK(blkd_connect(&options, &connection));
    LIBRARY_OK(blkd_buffer_alloc(connection, (size_t)DEPTH * PAGE, &memory));
    buffer = memory;
    LIBRARY_OK(blkd_get_tier(connection, &tier));
    ck_assert_int_eq(tier, BLKD_TIER_RING);
}

static void stopped_begin(void)
{
    scene_begin_with(RULES_SLOW);
    connect_by_ring();
}

static void killed_begin(void)
{
    scene_begin_with(RULES_HUNG);
    connect_by_ring();
}

static void endings_end(void)
{
    blkd_disconnect(connection);
    peer_arena_unmap(&scene.arena);
    peer_disconnect(&scene.peer);
    peer_disconnect(&scene.bystander);
    ck_assert_int_eq(scene.daemon.pid, 0);
}

/* ---- calls that are under way ---- */

static atomic_int results[DEPTH];
static atomic_uint calls;

static void on_done(void *user_data, int result)
{
    atomic_int *place = user_data;
    ck_assert_int_eq(atomic_exchange(place, result), PENDING); /* once */
    atomic_fetch_add(&calls, 1);
}

/* What is begun while the rings are still being set up is not submitted before somebody receives
 * the answers: so one call, of a place that is not slow, goes all the way. */
static void await_rings(struct blkd_device *device)
{
    const struct iovec vector = {buffer, PAGE};
    LIBRARY_OK(blkd_read(device, UINT64_C(2048), &vector, 1));
}

/* The first 16 are slow, in the order in which they are begun. */
static void start_writes(struct blkd_device *device)
{
    await_rings(device);
    atomic_store(&calls, 0);
    for (unsigned int i = 0; i < DEPTH; i++) {
        const struct iovec vector = {buffer + (size_t)i * PAGE, PAGE};
        scene_fill(buffer + (size_t)i * PAGE, PAGE, i + 1);
        atomic_store(&results[i], PENDING);
        LIBRARY_OK(
            blkd_write_async(device, (uint64_t)i * SECTORS, &vector, 1, 0, on_done, &results[i]));
    }
}

static void *dispatch_to_the_end(void *unused)
{
    (void)unused;
    while (blkd_dispatch(connection, -1) >= 0)
        continue;
    return NULL;
}

static size_t count_in_flight(void)
{
    struct blkd_device_list *list = NULL;
    struct blkd *other = harness_connect(&scene.daemon);
    size_t count = 0;
    LIBRARY_OK(blkd_list_devices(other, &list));
    for (size_t i = 0; i < list->count; i++)
        count += list->entries[i]->in_flight;
    blkd_device_list_free(list);
    blkd_disconnect(other);
    return count;
}

/* Those that are said to be done are done. Returns how many those are. */
static unsigned int check_writes(void)
{
    unsigned int done = 0;
    CLEANUP_CLOSE int fd = open(scene.direct_image, O_RDONLY | O_CLOEXEC);
    ck_assert_uint_eq(atomic_load(&calls), DEPTH);
    for (unsigned int i = 0; i < DEPTH; i++) {
        uint8_t expected[PAGE];
        uint8_t found[PAGE];
        int result = atomic_load(&results[i]);
        ck_assert_msg(result == 0 || result == -ENOTCONN, "write %u: %d", i, result);
        if (result < 0)
            continue;
        scene_fill(expected, PAGE, i + 1);
        ck_assert_int_eq(pread(fd, found, PAGE, (off_t)i * PAGE), PAGE);
        ck_assert_mem_eq(expected, found, PAGE);
        done++;
    }
    return done;
}

/* What the connection had is lost, and no call waits any more; the buffer is memory as before. */
static void expect_lost(struct blkd_device *device)
{
    const struct iovec vector = {buffer, PAGE};
    void *more = NULL;
    uint64_t begin = observe_now_ms();
    ck_assert_int_eq(blkd_read(device, 0, &vector, 1), -ENOTCONN);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    ASSERT_IN_TIME(begin, OBSERVE_SOON_MS);
    for (unsigned int i = 0; i < DEPTH * PAGE; i++)
        buffer[i] = (uint8_t)(buffer[i] + 1);
    memset(buffer, 'b', (size_t)DEPTH * PAGE);
    ck_assert_uint_eq(buffer[DEPTH * PAGE - 1], 'b');
    ck_assert_int_eq(blkd_write(device, 0, &vector, 1, 0), -ENOTCONN);
    if (blkd_buffer_alloc(connection, PAGE, &more) == 0)
        memset(more, 'm', PAGE);
    blkd_buffer_free(connection, more);
    blkd_buffer_free(connection, buffer);
}

/* ---- it stops ---- */

START_TEST(daemon_that_stops_ends_what_it_has_begun)
{
    pthread_t thread;
    struct blkd_device *device = open_image(false);
    start_writes(device);
    LIBRARY_OK(blkd_ping(connection)); /* whatever was to be sent is */
    AWAIT(count_in_flight() >= 1, OBSERVE_EVER_MS);
    ck_assert_int_eq(pthread_create(&thread, NULL, dispatch_to_the_end, NULL), 0);
    harness_daemon_stop(&scene.daemon);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_ge(check_writes(), 1);
    expect_lost(device);
}
END_TEST

/* Its ring is full of completions, and it takes none. */
START_TEST(client_that_takes_nothing_does_not_keep_it_from_stopping)
{
    uint64_t session = scene_open(&scene.peer, true, false);
    for (unsigned int i = 0; i < SCENE_ENTRIES; i++) {
        struct ring_submission read = scene_read();
        read.session = session;
        read.memory_offset = (uint64_t)i * PAGE;
        ASSERT_DONE(peer_submit(&scene.peer, &read));
    }
    AWAIT(atomic_load(&peer_submission_words(&scene.peer)->head) == SCENE_ENTRIES, OBSERVE_EVER_MS);
    uint64_t begin = observe_now_ms();
    harness_daemon_stop(&scene.daemon);
    ASSERT_IN_TIME(begin, 10 * OBSERVE_SOON_MS);
    int reason = peer_await_close(&scene.peer);
    ck_assert_msg(reason == 0 || reason == -ESHUTDOWN, "%s", strerror(-reason));
}
END_TEST

START_TEST(idle_rings_do_not_keep_it_from_stopping)
{
    struct blkd_device *device = open_image(true);
    const struct iovec vector = {buffer, PAGE};
    LIBRARY_OK(blkd_read(device, 0, &vector, 1));
    uint64_t begin = observe_now_ms();
    harness_daemon_stop(&scene.daemon);
    ASSERT_IN_TIME(begin, 5 * OBSERVE_SOON_MS);
    expect_lost(device);
}
END_TEST

/* ---- it is killed ---- */

START_TEST(calls_in_flight_end_when_it_is_killed)
{
    struct blkd_device *device = open_image(false);
    start_writes(device);
    LIBRARY_OK(blkd_ping(connection));
    AWAIT(count_in_flight() >= 1, OBSERVE_EVER_MS);
    (void)harness_daemon_end(&scene.daemon, SIGKILL);
    uint64_t begin = observe_now_ms();
    (void)dispatch_to_the_end(NULL);
    ASSERT_IN_TIME(begin, OBSERVE_SOON_MS);
    (void)check_writes();
    expect_lost(device);
    harness_daemon_forget_log(&scene.daemon);
}
END_TEST

struct reader {
    pthread_t thread;
    struct blkd_device *device;
    uint64_t sector;
    uint64_t ended_ms;
    atomic_uint reads;
    int result;
};

static void *read_to_the_end(void *user_data)
{
    struct reader *reader = user_data;
    uint8_t page[PAGE];
    const struct iovec vector = {page, sizeof(page)};
    do {
        reader->result = blkd_read(reader->device, reader->sector, &vector, 1);
        atomic_fetch_add(&reader->reads, 1);
    } while (reader->result == 0);
    reader->ended_ms = observe_now_ms();
    return NULL;
}

/* One waits for a slow device, and sleeps; one has what it asks for at once, and polls. */
START_TEST(waiting_calls_end_when_it_is_killed)
{
    struct reader readers[2] = {{.device = open_image(false), .sector = 0},
                                {.device = open_image(true), .sector = UINT64_C(2048)}};
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&readers[i].thread, NULL, read_to_the_end, &readers[i]), 0);
    AWAIT(atomic_load(&readers[1].reads) >= 100 + (unsigned int)_i * 37, OBSERVE_EVER_MS);
    uint64_t begin = observe_now_ms();
    (void)harness_daemon_end(&scene.daemon, SIGKILL);
    for (unsigned int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(readers[i].thread, NULL), 0);
        ck_assert_int_eq(readers[i].result, -ENOTCONN);
        ck_assert_msg(harness_in_time(readers[i].ended_ms - begin, OBSERVE_SOON_MS),
                      "it ended %" PRIu64 " ms later", readers[i].ended_ms - begin);
    }
    expect_lost(readers[0].device);
    harness_daemon_forget_log(&scene.daemon);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/ring/endings");
    TCase *stopped = tcase_create("stopped");
    TCase *killed = tcase_create("killed");
    (void)unsetenv("BLKD_TIER"); /* it would come before the options */
    tcase_set_timeout(stopped, SCENE_TIMEOUT_S);
    tcase_add_checked_fixture(stopped, stopped_begin, endings_end);
    tcase_add_test(stopped, daemon_that_stops_ends_what_it_has_begun);
    tcase_add_test(stopped, client_that_takes_nothing_does_not_keep_it_from_stopping);
    tcase_add_test(stopped, idle_rings_do_not_keep_it_from_stopping);
    suite_add_tcase(suite, stopped);
    tcase_set_timeout(killed, SCENE_TIMEOUT_S);
    tcase_add_checked_fixture(killed, killed_begin, endings_end);
    tcase_add_test(killed, calls_in_flight_end_when_it_is_killed);
    tcase_add_loop_test(killed, waiting_calls_end_when_it_is_killed, 0, 5);
    suite_add_tcase(suite, killed);
    return harness_main(suite);
}
