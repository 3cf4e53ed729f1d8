/* SPDX-License-Identifier: MIT */
/* The daemon's own end and beginning: what a stop leaves behind, and what a start finds. */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct blkd_device *device;

/* ---- stopping ---- */

static void expect_disconnected(void)
{
    uint8_t sector[4096] = {0};
    struct blkd_info info;
    const struct iovec vector = {sector, sizeof(sector)};
    ASSERT_FAILS(blkd_read(device, 0, &vector, 1), ENOTCONN);
    ck_assert_uint_gt(strlen(blkd_error_message()), 0);
    ASSERT_SAYS("blkd");
    ASSERT_FAILS(blkd_write(device, 0, &vector, 1, 0), ENOTCONN);
    ASSERT_FAILS(blkd_flush(device), ENOTCONN);
    ASSERT_FAILS(blkd_get_info(device, &info), ENOTCONN);
    ASSERT_FAILS(blkd_ping(fixture.connection), ENOTCONN);
    blkd_close(device);
}

START_TEST(stopped_daemon_leaves_the_data_on_the_device)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    device = fixture_open(&config);
    const uint32_t sector_size = fixture_info(device).sector_size;
    data_write(device, 0, MIB / sector_size, 1);
    ck_assert_int_eq(fixture_entry(device).unsynced, true);
    harness_daemon_stop(&fixture.daemon);
    data_expect_outside(&fixture.place, 0, MIB / sector_size, sector_size, 1);
    ck_assert_int_lt(access(fixture.daemon.socket_path, F_OK), 0);
    expect_disconnected();
}
END_TEST

START_TEST(stopped_daemon_has_flushed_the_drive)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    device = fixture_open_place();
    data_write(device, 0, 8, 1);
    uint64_t before = place_count_flushes(&fixture.place);
    harness_daemon_stop(&fixture.daemon);
    ck_assert_uint_gt(place_count_flushes(&fixture.place), before);
}
END_TEST

enum { CALLS = 200, EACH_BYTES = 65536, CALL_PENDING = 1 };

static int results[CALLS];
static unsigned int ended;

static void on_written(void *user_data, int result)
{
    int *slot = user_data;
    ck_assert_int_eq(*slot, CALL_PENDING);
    *slot = result;
    ended++;
}

static unsigned int shutting_down;
static unsigned int disconnected;

static void on_event(void *user_data, const struct blkd_event *event)
{
    (void)user_data;
    shutting_down += event->type == BLKD_EVENT_SHUTTING_DOWN ? 1 : 0;
    disconnected += event->type == BLKD_EVENT_DISCONNECTED ? 1 : 0;
}

/* Each call in flight ends; what was said to be written is. */
START_TEST(calls_in_flight_end_when_the_daemon_stops)
{
    if (!place_begin(&fixture.place, _i, CALLS * EACH_BYTES))
        return;
    struct blkd_config config = fixture_config();
    device = fixture_open(&config);
    const uint32_t sector_size = fixture_info(device).sector_size;
    ASSERT_OK(blkd_set_event_callback(fixture.connection, on_event, NULL));
    CLEANUP_FREE uint8_t *memory = data_new(CALLS * EACH_BYTES);
    const uint64_t each = EACH_BYTES / sector_size;
    data_fill(memory, 0, CALLS * each, sector_size, 1);
    for (unsigned int i = 0; i < CALLS; i++) {
        const struct iovec vector = {memory + (size_t)i * EACH_BYTES, EACH_BYTES};
        results[i] = CALL_PENDING;
        ASSERT_OK(blkd_write_async(device, i * each, &vector, 1, 0, on_written, &results[i]));
    }
    while (ended == 0)
        ck_assert_int_ge(blkd_dispatch(fixture.connection, -1), 0);
    harness_daemon_stop(&fixture.daemon);
    while (blkd_dispatch(fixture.connection, -1) >= 0) {
    }
    ck_assert_uint_eq(ended, CALLS);
    ck_assert_uint_eq(disconnected, 1);
    ck_assert_uint_eq(shutting_down, 1);
    for (unsigned int i = 0; i < CALLS; i++) {
        if (results[i] == 0)
            data_expect_outside(&fixture.place, i * each, each, sector_size, 1);
        else
            ck_assert_msg(results[i] == -ENOTCONN || results[i] == -ESHUTDOWN, "call %u: %d", i,
                          results[i]);
    }
    expect_disconnected();
}
END_TEST

START_TEST(calls_in_flight_end_when_the_daemon_is_killed)
{
    if (!place_begin(&fixture.place, _i, CALLS * EACH_BYTES))
        return;
    struct blkd_config config = fixture_config();
    device = fixture_open(&config);
    const uint32_t sector_size = fixture_info(device).sector_size;
    CLEANUP_FREE uint8_t *memory = data_new(CALLS * EACH_BYTES);
    for (unsigned int i = 0; i < CALLS; i++) {
        const struct iovec vector = {memory + (size_t)i * EACH_BYTES, EACH_BYTES};
        results[i] = CALL_PENDING;
        ASSERT_OK(blkd_read_async(device, i * (EACH_BYTES / sector_size), &vector, 1, on_written,
                                  &results[i]));
    }
    int status = harness_daemon_end(&fixture.daemon, SIGKILL);
    ck_assert(WIFSIGNALED(status));
    harness_daemon_forget_log(&fixture.daemon);
    while (blkd_dispatch(fixture.connection, -1) >= 0) {
    }
    ck_assert_uint_eq(ended, CALLS);
    for (unsigned int i = 0; i < CALLS; i++)
        ck_assert_msg(results[i] == 0 || results[i] == -ENOTCONN, "call %u: %d", i, results[i]);
    expect_disconnected();
}
END_TEST

START_TEST(idle_daemon_stops_with_connections_open)
{
    harness_daemon_stop(&fixture.daemon);
    ASSERT_FAILS(blkd_ping(fixture.connection), ENOTCONN);
    struct blkd_options options = {0};
    struct blkd *connection = NULL;
    options.socket_path = fixture.daemon.socket_path;
    ASSERT_FAILS(blkd_connect(&options, &connection), ENOENT);
    ASSERT_SAYS(fixture.daemon.socket_path);
}
END_TEST

/* ---- starting ---- */

static void start_on(struct harness_daemon *daemon, const char *path, int expected)
{
    int code = harness_daemon_try_start(daemon, path, NULL);
    ck_assert_msg(code == expected, "the daemon's exit code is %d, not %d", code, expected);
}

static void expect_log(const struct harness_daemon *daemon, const char *words)
{
    CLEANUP_FREE char *log = harness_read_text(daemon->log_path);
    ck_assert_msg(strstr(log, words) != NULL, "\"%s\" is not in the log: %s", words, log);
}

START_TEST(socket_without_a_listener_is_taken_over)
{
    struct harness_daemon daemon;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/stale", harness_directory());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(close(fd), 0);
    start_on(&daemon, address.sun_path, 0);
    struct blkd *connection = harness_connect(&daemon);
    ASSERT_OK(blkd_ping(connection));
    blkd_disconnect(connection);
    harness_daemon_stop(&daemon);
}
END_TEST

START_TEST(socket_of_a_killed_daemon_is_taken_over)
{
    struct harness_daemon successor;
    (void)harness_daemon_end(&fixture.daemon, SIGKILL);
    harness_daemon_forget_log(&fixture.daemon);
    ck_assert_int_eq(access(fixture.daemon.socket_path, F_OK), 0);
    start_on(&successor, fixture.daemon.socket_path, 0);
    struct blkd *connection = harness_connect(&successor);
    ASSERT_OK(blkd_ping(connection));
    blkd_disconnect(connection);
    harness_daemon_stop(&successor);
}
END_TEST

START_TEST(second_daemon_on_a_socket_says_so_and_ends)
{
    struct harness_daemon second;
    start_on(&second, fixture.daemon.socket_path, 3);
    expect_log(&second, "another daemon is already serving");
    expect_log(&second, fixture.daemon.socket_path);
    harness_daemon_forget_log(&second);
    ASSERT_OK(blkd_ping(fixture.connection)); /* the first one goes on */
    blkd_disconnect(harness_connect(&fixture.daemon));
}
END_TEST

START_TEST(socket_of_another_program_is_left_alone)
{
    struct harness_daemon daemon;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/others", harness_directory());
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    start_on(&daemon, address.sun_path, 3);
    expect_log(&daemon, "another program is listening");
    harness_daemon_forget_log(&daemon);
    ck_assert_int_eq(access(address.sun_path, F_OK), 0);
}
END_TEST

START_TEST(file_in_the_sockets_place_is_left_alone)
{
    struct harness_daemon daemon;
    char path[HARNESS_PATH_MAX];
    struct stat status;
    harness_make_file(harness_directory(), "precious", 4096, path);
    start_on(&daemon, path, 1);
    expect_log(&daemon, "not a socket");
    harness_daemon_forget_log(&daemon);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_size, 4096);
}
END_TEST

START_TEST(symbolic_link_in_the_sockets_place_is_not_followed)
{
    struct harness_daemon daemon;
    struct stat status;
    char path[HARNESS_PATH_MAX];
    harness_join(harness_directory(), "private", path);
    ck_assert_int_eq(symlink("nowhere", path), 0);
    start_on(&daemon, path, 1);
    harness_daemon_forget_log(&daemon);
    ck_assert_int_eq(lstat(path, &status), 0);
    ck_assert(S_ISLNK(status.st_mode));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/life");
    TCase *tests = fixture_case(suite, "life");
    tcase_add_loop_test(tests, stopped_daemon_leaves_the_data_on_the_device, 0, place_rows());
    tcase_add_loop_test(tests, stopped_daemon_has_flushed_the_drive, place_file_rows(),
                        place_loop_end());
    tcase_add_loop_test(tests, calls_in_flight_end_when_the_daemon_stops, 0, place_rows());
    tcase_add_loop_test(tests, calls_in_flight_end_when_the_daemon_is_killed, 0, place_rows());
    tcase_add_test(tests, idle_daemon_stops_with_connections_open);
    tcase_add_test(tests, socket_without_a_listener_is_taken_over);
    tcase_add_test(tests, socket_of_a_killed_daemon_is_taken_over);
    tcase_add_test(tests, second_daemon_on_a_socket_says_so_and_ends);
    tcase_add_test(tests, socket_of_another_program_is_left_alone);
    tcase_add_test(tests, file_in_the_sockets_place_is_left_alone);
    tcase_add_test(tests, symbolic_link_in_the_sockets_place_is_not_followed);
    return harness_main(suite);
}
