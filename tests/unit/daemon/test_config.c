/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/config.h"
#include "tests/unit/suite.h"

static struct config config;
static char message[CONFIG_MESSAGE_MAX];
static char path[] = "/tmp/blkd-config-XXXXXX";

static void setup(void)
{
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    config_init(&config);
    message[0] = '\0';
}

static void teardown(void)
{
    (void)unlink(path);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

START_TEST(a_file_sets_what_it_names_and_nothing_else)
{
    write_file("[daemon]\nsocket = /tmp/x.sock\nworkers = 3\nlog-level = debug ; a comment\n"
               "[limits]\nhello-timeout-ms = 250\n");
    ck_assert_int_eq(config_read_file(&config, path, true, message), 0);
    ck_assert_str_eq(config.socket_path, "/tmp/x.sock");
    ck_assert_uint_eq(config.workers, 3);
    ck_assert_int_eq(config.log_level, LOG_LEVEL_DEBUG);
    ck_assert_uint_eq(config.limits.hello_timeout_ms, 250);
    ck_assert_uint_eq(config.limits.frame_timeout_ms, CONN_FRAME_MS);
    ck_assert_str_eq(config.engine, "auto");
}
END_TEST

static uint64_t memory_mib(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
}

START_TEST(shared_memory_has_limits_and_0_is_one)
{
    ck_assert_uint_eq(config.limits.arena_mib_per_connection, ARENA_MIB_PER_CONNECTION);
    ck_assert_uint_ge(config.limits.arena_mib_per_uid, 1);
    ck_assert_uint_le(config.limits.arena_mib_per_uid, ARENA_MIB_PER_UID);
    ck_assert_uint_le(config.limits.arena_mib_per_uid, memory_mib() / 4);
    write_file("[limits]\narena-mib-per-connection = 0\narena-mib-per-uid = 77\n");
    ck_assert_int_eq(config_read_file(&config, path, true, message), 0);
    ck_assert_uint_eq(config.limits.arena_mib_per_connection, 0);
    ck_assert_uint_eq(config.limits.arena_mib_per_uid, 77);
}
END_TEST

static const struct {
    const char *text;
    const char *mentions;
} refused[] = {
    {"[daemon]\nworkers = 0\n", ":2: workers = 0: expected a number from 1"},
    {"[daemon]\nworkers = -1\n", "workers = -1"},
    {"[daemon]\nworkers = 99999999999999999999\n", "workers"},
    {"[daemon]\nworkers = 2x\n", "workers = 2x"},
    {"[daemon]\n\nengine = aio\n", ":3: engine = aio: expected auto, io_uring or threads"},
    {"[daemon]\nlog-level = loud\n", "log-level = loud"},
    {"[daemon]\ncolour = red\n", "[daemon] colour: unknown key"},
    {"[limits]\nworkers = 2\n", "[limits] workers: unknown key"},
    {"[daemon]\narena-mib-per-uid = 1\n", "[daemon] arena-mib-per-uid: unknown key"},
    {"[limits]\narena-mib-per-connection = 1048577\n", "expected a number from 0 to 1048576"},
    {"[limits]\narena-mib-per-uid = 16777217\n", "expected a number from 0 to 16777216"},
    {"[daemon]\nsocket =\n", "socket: must be 1 to"},
    {"[daemon\n", ":1:"},
};

START_TEST(a_wrong_file_is_refused_with_file_line_and_key)
{
    write_file(refused[_i].text);
    ck_assert_int_eq(config_read_file(&config, path, true, message), -EINVAL);
    ck_assert_msg(strstr(message, path) != NULL, "no file name in: %s", message);
    ck_assert_msg(strstr(message, refused[_i].mentions) != NULL, "not in: %s", message);
}
END_TEST

START_TEST(a_missing_file_is_an_error_only_if_it_was_asked_for)
{
    (void)unlink(path);
    ck_assert_int_eq(config_read_file(&config, path, false, message), 0);
    ck_assert_int_eq(config_read_file(&config, path, true, message), -ENOENT);
    ck_assert_ptr_nonnull(strstr(message, path));
}
END_TEST

START_TEST(the_socket_is_where_the_environment_says)
{
    char socket[CONFIG_SOCKET_MAX];
    char longer[CONFIG_SOCKET_MAX + 2];
    (void)setenv("BLKD_SOCKET", "/tmp/named.sock", 1);
    ck_assert_int_eq(config_default_socket(socket), 0);
    ck_assert_str_eq(socket, "/tmp/named.sock");

    (void)memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    (void)setenv("BLKD_SOCKET", longer, 1);
    ck_assert_int_eq(config_default_socket(socket), -ENAMETOOLONG);

    (void)unsetenv("BLKD_SOCKET");
    (void)setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    ck_assert_int_eq(config_default_socket(socket), 0);
    ck_assert_str_eq(socket, geteuid() == 0 ? "/run/blkd/blkd.sock" : "/run/user/7/blkd.sock");
}
END_TEST

START_TEST(the_state_directory_is_where_the_environment_says)
{
    char state[CONFIG_STATE_MAX];
    char longer[CONFIG_STATE_MAX + 2];
    bool root = geteuid() == 0;
    (void)unsetenv("STATE_DIRECTORY");
    (void)unsetenv("XDG_STATE_HOME");
    (void)setenv("HOME", "/home/u", 1);
    ck_assert_int_eq(config_default_state(state), 0);
    ck_assert_str_eq(state, root ? "/var/lib/blkd" : "/home/u/.local/state/blkd");
    (void)setenv("XDG_STATE_HOME", "/home/u/s", 1);
    ck_assert_int_eq(config_default_state(state), 0);
    ck_assert_str_eq(state, root ? "/var/lib/blkd" : "/home/u/s/blkd");
    (void)setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
    ck_assert_int_eq(config_default_state(state), 0);
    ck_assert_str_eq(state, "/var/lib/one");

    (void)memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    (void)setenv("STATE_DIRECTORY", longer, 1);
    ck_assert_int_eq(config_default_state(state), -ENAMETOOLONG);
    ck_assert_int_eq(config_set(&config, "daemon", "state-dir", longer, message), -EINVAL);
    ck_assert_int_eq(config_set(&config, "daemon", "state-dir", "/s", message), 0);
    ck_assert_str_eq(config.state_dir, "/s");
}
END_TEST

START_TEST(there_is_always_a_worker)
{
    ck_assert_uint_ge(config_worker_count(&config), 1);
    config.workers = 5;
    ck_assert_uint_eq(config_worker_count(&config), 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_file_sets_what_it_names_and_nothing_else);
    tcase_add_test(tcase, shared_memory_has_limits_and_0_is_one);
    tcase_add_loop_test(tcase, a_wrong_file_is_refused_with_file_line_and_key, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tcase, a_missing_file_is_an_error_only_if_it_was_asked_for);
    tcase_add_test(tcase, the_socket_is_where_the_environment_says);
    tcase_add_test(tcase, the_state_directory_is_where_the_environment_says);
    tcase_add_test(tcase, there_is_always_a_worker);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
