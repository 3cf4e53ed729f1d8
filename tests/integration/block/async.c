/* SPDX-License-Identifier: MIT */
/* Every verb without waiting, from a loop of poll(2) on the connection's one descriptor. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PENDING = 1, POLL_MS = 60 * 1000, IN_FLIGHT = 400 };

/* One call: PENDING, then its result. */
struct outcome {
    int result;
    unsigned int calls;
    char message[512];
};

static bool in_dispatch;

static void on_done(void *user_data, int result)
{
    struct outcome *outcome = user_data;
    ck_assert_msg(in_dispatch, "a callback runs outside of blkd_dispatch");
    outcome->result = result;
    outcome->calls++;
    (void)snprintf(outcome->message, sizeof(outcome->message), "%s", blkd_error_message());
}

static struct outcome pending(void)
{
    return (struct outcome){.result = PENDING};
}

/* One turn of the program's loop: sleeps until the descriptor is readable. */
static void turn(void)
{
    struct pollfd pollfd = {.fd = blkd_get_fd(fixture.connection), .events = POLLIN};
    ck_assert_msg(poll(&pollfd, 1, POLL_MS) == 1, "the descriptor does not become readable");
    in_dispatch = true;
    ck_assert_int_ge(blkd_dispatch(fixture.connection, 0), 0);
    in_dispatch = false;
}

static void await(const struct outcome *outcome)
{
    while (outcome->result == PENDING)
        turn();
    ck_assert_uint_eq(outcome->calls, 1);
}

#define AWAIT_OK(call)                                                                             \
    do {                                                                                           \
        outcome = pending();                                                                       \
        ASSERT_OK(call);                                                                           \
        ck_assert_int_eq(outcome.result, PENDING); /* not before a turn of the loop */             \
        await(&outcome);                                                                           \
        ck_assert_msg(outcome.result == 0, "%s: %d: %s", #call, outcome.result, outcome.message);  \
    } while (0)

#define AWAIT_FAILS(call, error)                                                                   \
    do {                                                                                           \
        outcome = pending();                                                                       \
        ASSERT_OK(call);                                                                           \
        await(&outcome);                                                                           \
        ck_assert_msg(outcome.result == -(error), "%s: %d: %s", #call, outcome.result,             \
                      outcome.message);                                                            \
    } while (0)

static struct outcome outcome;
static struct blkd_device *device;

/* Seek in both directions, and resize. */
static void await_map_and_size(uint64_t sectors)
{
    struct blkd_info info;
    uint64_t found = UINT64_MAX;
    AWAIT_OK(blkd_seek_mapped_async(device, sectors, &found, on_done, &outcome));
    ck_assert_uint_eq(found, sectors);
    AWAIT_OK(blkd_seek_unmapped_async(device, sectors, &found, on_done, &outcome));
    ck_assert_uint_eq(found, sectors);
    if (place_is_file(&fixture.place)) {
        AWAIT_OK(blkd_resize_async(device, sectors * 2, on_done, &outcome));
        AWAIT_OK(blkd_get_info_async(device, &info, on_done, &outcome));
        ck_assert_uint_eq(info.size_sectors * info.sector_size, 2 * MIB);
    } else {
        AWAIT_FAILS(blkd_resize_async(device, 1, on_done, &outcome), EOPNOTSUPP);
    }
}

START_TEST(every_verb_works_from_a_poll_loop)
{
    struct blkd_info info;
    struct blkd_config *told = NULL;
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    const struct blkd_config config = fixture_config();
    struct blkd *connection = fixture.connection;
    int fd = blkd_get_fd(connection);

    AWAIT_OK(blkd_ping_async(connection, on_done, &outcome));
    AWAIT_OK(blkd_open_async(connection, &config, &device, on_done, &outcome));
    AWAIT_OK(blkd_get_info_async(device, &info, on_done, &outcome));
    ck_assert_uint_eq(info.size_sectors * info.sector_size, MIB);
    AWAIT_OK(blkd_get_config_async(device, &told, on_done, &outcome));
    ck_assert_str_eq(told->path, fixture.place.path);
    blkd_config_free(told);

    CLEANUP_FREE uint8_t *memory = data_new(8UL * info.sector_size);
    const struct iovec vector = {memory, 8UL * info.sector_size};
    data_fill(memory, 3, 8, info.sector_size, 1);
    AWAIT_OK(blkd_write_async(device, 3, &vector, 1, BLKD_WRITE_FUA, on_done, &outcome));
    memset(memory, 0, vector.iov_len);
    AWAIT_OK(blkd_read_async(device, 3, &vector, 1, on_done, &outcome));
    data_check(memory, 3, 8, info.sector_size, 1, "read without waiting");
    AWAIT_OK(blkd_flush_async(device, on_done, &outcome));
    AWAIT_OK(blkd_discard_async(device, 4, 2, on_done, &outcome));
    AWAIT_OK(blkd_write_zeroes_async(device, 7, 2, 0, on_done, &outcome));
    AWAIT_OK(blkd_read_async(device, 3, &vector, 1, on_done, &outcome));
    data_check(memory + info.sector_size, 4, 2, info.sector_size, 0, "discarded");
    data_check(memory + 3UL * info.sector_size, 6, 1, info.sector_size, 1, "between");
    data_check(memory + 4UL * info.sector_size, 7, 2, info.sector_size, 0, "zeroed");

    await_map_and_size(info.size_sectors);
    AWAIT_OK(blkd_close_async(device, on_done, &outcome));
    ck_assert_int_eq(blkd_get_fd(connection), fd);

    CLEANUP_CLOSE int passed = open(fixture.place.path, O_RDWR | O_CLOEXEC);
    AWAIT_OK(blkd_open_fd_async(connection, passed, &config, &device, on_done, &outcome));
    AWAIT_OK(blkd_read_async(device, 3, &vector, 1, on_done, &outcome));
    data_check(memory, 3, 1, info.sector_size, 1, "read through a passed descriptor");
    AWAIT_OK(blkd_close_async(device, on_done, &outcome));
}
END_TEST

START_TEST(failures_come_with_their_message)
{
    struct blkd_config config = {0};
    uint8_t sector[4096] = {0};
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    config.path = "/nonexistent/image";
    ASSERT_FAILS(blkd_open_async(fixture.connection, &config, &device, on_done, &outcome), ENOENT);
    ASSERT_SAYS(config.path);
    ck_assert_ptr_null(device);

    device = fixture_open_place();
    uint64_t sectors = fixture_info(device).size_sectors;
    const struct iovec vector = {sector, fixture_info(device).sector_size};
    AWAIT_FAILS(blkd_write_async(device, sectors, &vector, 1, 0, on_done, &outcome), ENOSPC);
    ck_assert_ptr_nonnull(strstr(outcome.message, fixture.place.path));
    AWAIT_FAILS(blkd_read_async(device, sectors, &vector, 1, on_done, &outcome), EINVAL);
    ck_assert_ptr_nonnull(strstr(outcome.message, "beyond the end of the device"));
    AWAIT_FAILS(blkd_discard_async(device, sectors, 1, on_done, &outcome), ENOSPC);
}
END_TEST

/* More at once than fit into the sockets' buffers, of sizes that differ. */
START_TEST(many_calls_are_in_flight_at_once)
{
    static struct outcome outcomes[IN_FLIGHT];
    enum { EACH = 24 };
    unsigned int turns = 0;
    if (!place_begin(&fixture.place, _i, IN_FLIGHT * EACH * 4096UL))
        return;
    device = fixture_open_place();
    uint32_t sector_size = fixture_info(device).sector_size;
    CLEANUP_FREE uint8_t *memory = data_new((size_t)IN_FLIGHT * EACH * sector_size);
    for (unsigned int pass = 0; pass < 2; pass++) {
        for (unsigned int i = 0; i < IN_FLIGHT; i++) {
            uint8_t *at = memory + (size_t)i * EACH * sector_size;
            const struct iovec vector = {at, (1 + i % EACH) * sector_size};
            outcomes[i] = pending();
            if (pass == 0) {
                data_fill(at, i * EACH, 1 + i % EACH, sector_size, 1);
                ASSERT_OK(blkd_write_async(device, i * EACH, &vector, 1, 0, on_done, &outcomes[i]));
            } else {
                ASSERT_OK(blkd_read_async(device, i * EACH, &vector, 1, on_done, &outcomes[i]));
            }
        }
        for (unsigned int i = 0; i < IN_FLIGHT; i++) {
            for (; outcomes[i].result == PENDING; turns++)
                turn();
            ck_assert_msg(outcomes[i].result == 0, "call %u: %s", i, outcomes[i].message);
            ck_assert_uint_eq(outcomes[i].calls, 1);
        }
        if (pass == 0)
            memset(memory, 0, (size_t)IN_FLIGHT * EACH * sector_size);
    }
    for (unsigned int i = 0; i < IN_FLIGHT; i++)
        data_check(memory + (size_t)i * EACH * sector_size, i * EACH, 1 + i % EACH, sector_size, 1,
                   "read in flight");
    ck_assert_uint_gt(turns, 0);
}
END_TEST

/* The close waits for what was submitted before it. */
START_TEST(close_comes_after_what_is_in_flight)
{
    static struct outcome outcomes[32];
    struct outcome closed = pending();
    if (!place_begin(&fixture.place, _i, 8 * MIB))
        return;
    device = fixture_open_place();
    uint32_t sector_size = fixture_info(device).sector_size;
    size_t count = 256 * 1024 / sector_size;
    CLEANUP_FREE uint8_t *memory = data_new(8 * MIB);
    data_fill(memory, 0, 32 * count, sector_size, 1);
    for (unsigned int i = 0; i < 32; i++) {
        const struct iovec vector = {memory + i * count * sector_size, count * sector_size};
        outcomes[i] = pending();
        ASSERT_OK(blkd_write_async(device, i * count, &vector, 1, 0, on_done, &outcomes[i]));
    }
    ASSERT_OK(blkd_close_async(device, on_done, &closed));
    await(&closed);
    ck_assert_int_eq(closed.result, 0);
    for (unsigned int i = 0; i < 32; i++)
        ck_assert_int_eq(outcomes[i].result, 0);
    data_expect_outside(&fixture.place, 0, 32 * count, sector_size, 1);
}
END_TEST

static struct outcome nested;

static void on_done_wait(void *user_data, int result)
{
    nested.result = blkd_ping(fixture.connection);
    on_done(user_data, result);
}

/* This process, the daemon and all of its threads on one CPU: each runs when the other sleeps. */
static void share_one_cpu(pid_t daemon)
{
    char path[64];
    cpu_set_t cpus;
    const struct dirent *entry;

    ck_assert_int_eq(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &cpus))
        cpu++;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon);
    DIR *tasks = opendir(path);
    ck_assert_ptr_nonnull(tasks);
    while ((entry = readdir(tasks)) != NULL)
        if (entry->d_name[0] != '.')
            (void)sched_setaffinity((pid_t)atoi(entry->d_name), sizeof(cpus), &cpus);
    (void)closedir(tasks);
}

/* More than fits into what is in flight at once: its parts follow one another, though nobody calls
 * the library before the descriptor says so. */
START_TEST(large_transfers_go_on_while_the_descriptor_is_polled)
{
    enum { LARGE = 4 * MIB, READS = 400 };
    char path[HARNESS_PATH_MAX];
    harness_make_file(harness_memory_directory(), "large.img", LARGE, path);
    struct blkd_config config = {0};
    config.path = path;
    device = fixture_open(&config);
    CLEANUP_FREE uint8_t *memory = malloc(LARGE);
    const struct iovec vector = {memory, LARGE};
    ASSERT_OK(blkd_read(device, 0, &vector, 1));
    share_one_cpu(fixture.daemon.pid);
    for (int i = 0; i < READS; i++) {
        AWAIT_OK(blkd_read_async(device, 0, &vector, 1, on_done, &outcome));
    }
}
END_TEST

START_TEST(waiting_in_a_callback_is_refused)
{
    outcome = pending();
    ASSERT_OK(blkd_ping_async(fixture.connection, on_done_wait, &outcome));
    await(&outcome);
    ck_assert_int_eq(nested.result, -EDEADLK);
    ASSERT_OK(blkd_ping(fixture.connection));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/async");
    TCase *tests = fixture_case(suite, "async");
    tcase_add_loop_test(tests, every_verb_works_from_a_poll_loop, 0, place_rows());
    tcase_add_loop_test(tests, failures_come_with_their_message, 0, place_rows());
    tcase_add_loop_test(tests, many_calls_are_in_flight_at_once, 0, place_rows());
    tcase_add_loop_test(tests, close_comes_after_what_is_in_flight, 0, place_rows());
    tcase_add_test(tests, large_transfers_go_on_while_the_descriptor_is_polled);
    tcase_add_test(tests, waiting_in_a_callback_is_refused);
    return harness_main(suite);
}
