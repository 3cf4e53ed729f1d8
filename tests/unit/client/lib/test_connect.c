/* SPDX-License-Identifier: MIT */
/* How libblkd finds and greets a daemon: the socket, its refusals, its silence. */
#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

START_TEST(connecting_tells_about_the_daemon)
{
    struct blkd_options options = {0};
    struct blkd_server_info info;

    fake_start(&fake);
    options.socket_path = fake.path;
    options.client_name = "somebody";
    ck_assert_int_eq(blkd_connect(&options, &connection), 0);
    ck_assert_int_eq(blkd_get_server_info(connection, &info), 0);
    ck_assert_str_eq(info.version, "9.9");
    ck_assert_str_eq(info.engine, "fake");
    ck_assert_uint_eq(info.workers, 3);
    ck_assert_uint_eq(info.max_requests, 64);
    ck_assert_uint_eq(info.max_io_bytes, 1024 * 1024);
    ck_assert_uint_eq(info.connection_number, 42);
    ck_assert_uint_eq(info.instance[1], 2);
    ck_assert_int_eq(blkd_ping(connection), 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_str_eq(fake.client_name, "somebody");
}
END_TEST

START_TEST(socket_is_found_in_the_environment)
{
    fake_start(&fake);
    ck_assert_int_eq(setenv("BLKD_SOCKET", fake.path, 1), 0);
    ck_assert_int_eq(blkd_connect(NULL, &connection), 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

START_TEST(socket_is_found_in_the_runtime_directory)
{
    char path[128];

    fake_start(&fake);
    (void)snprintf(path, sizeof(path), "%s/blkd.sock", fake.directory);
    ck_assert_int_eq(symlink(fake.path, path), 0);
    ck_assert_int_eq(unsetenv("BLKD_SOCKET"), 0);
    ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", fake.directory, 1), 0);
    ck_assert_int_eq(blkd_connect(NULL, &connection), 0);
    blkd_disconnect(connection);
    ck_assert_int_eq(unlink(path), 0);
    fake_stop(&fake);
}
END_TEST

START_TEST(refused_connection_names_socket_and_remedy)
{
    struct blkd_options options = {0};

    fake_init(&fake);
    fake_listen(&fake);
    (void)close(fake.listener); /* a stale socket file: ECONNREFUSED */
    options.socket_path = fake.path;
    ck_assert_int_eq(blkd_connect(&options, &connection), -ECONNREFUSED);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), fake.path));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "systemctl enable --now blkd.socket"));
    ck_assert_int_eq(unlink(fake.path), 0);
    ck_assert_int_eq(blkd_connect(&options, &connection), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), fake.path));
    ck_assert_int_eq(rmdir(fake.directory), 0);
}
END_TEST

START_TEST(silent_daemon_times_out)
{
    struct blkd_options options = {0};

    fake_init(&fake);
    fake_listen(&fake);
    options.socket_path = fake.path;
    options.connect_timeout_ms = 20;
    /* The first ones stand in the queue unanswered, then the queue is full: both must time out. */
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(blkd_connect(&options, &connection), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), fake.path));
    fake_unlisten(&fake);
}
END_TEST

static bool refuse_hello(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    fake_answer(daemon, request->id, -EPROTO, "version 1 is too old");
    return true;
}

START_TEST(refused_hello_says_why)
{
    struct blkd_options options = {0};

    fake.on_request = refuse_hello;
    fake_start(&fake);
    options.socket_path = fake.path;
    ck_assert_int_eq(blkd_connect(&options, &connection), -EPROTO);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "version 1 is too old"));
    fake_stop(&fake);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_connect");
    TCase *tests = tcase_create("connecting");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, connecting_tells_about_the_daemon);
    tcase_add_test(tests, socket_is_found_in_the_environment);
    tcase_add_test(tests, socket_is_found_in_the_runtime_directory);
    tcase_add_test(tests, refused_connection_names_socket_and_remedy);
    tcase_add_test(tests, silent_daemon_times_out);
    tcase_add_test(tests, refused_hello_says_why);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
