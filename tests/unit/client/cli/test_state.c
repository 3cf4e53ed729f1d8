/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli against a scripted daemon: lists, why, sync, recover and evict.
 */
#include "tests/unit/client/cli/program.h"
#include "tests/unit/client/cli/scripted_daemon.h"

START_TEST(lock_ls_tells_what_each_lock_is_at)
{
    RUN(serve, "lock", "ls", image);
    check_code(0);
    check_has(run.out, "held");
    check_has(run.out, "1024-1535");
    check_has(run.out, "upgrading");
    check_has(run.out, "waits");
    check_has(run.out, "a vm");
    RUN(serve, "lock", "ls", "--json", "#3");
    check_code(0);
    check_has(run.out, "\"device\": 3");
    check_has(run.out, "\"state\": \"upgrading\"");
    check_has(run.out, "\"position\": 2");
    check_has(run.out, "\"wanted\": \"exclusive\"");
}
END_TEST

START_TEST(device_is_found_by_number_path_and_string)
{
    char string[64], neighbour[] = "/tmp/blkd-cli-XXXXXX";
    int other;

    (void)snprintf(string, sizeof(string), "file://%s", image);
    asked_break_device = 0;
    RUN(serve, "lock", "break", string);
    check_code(0);
    ck_assert_uint_eq(asked_break_device, 3);
    ck_assert_uint_eq(asked_break_session, 0);
    ck_assert_uint_eq(asked_break_wait_ms, 10000);
    RUN(serve, "lock", "break", "--session", "77", "--wait", "1.5", "4", "--json");
    check_code(0);
    ck_assert_uint_eq(asked_break_device, 4);
    ck_assert_uint_eq(asked_break_session, 77);
    ck_assert_uint_eq(asked_break_wait_ms, 1500);
    check_has(run.out, "\"broken\": 2");
    asked_break_device = 0;
    RUN(serve, "lock", "break", "/srv/broken.img"); /* only what its opener called it */
    check_code(1);
    ck_assert_uint_eq(asked_break_device, 0);
    RUN(serve, "lock", "break", "/proc/self/exe"); /* there, but not open in the daemon */
    check_code(1);
    other = mkstemp(neighbour); /* on the same file system */
    ck_assert_int_ge(other, 0);
    RUN(serve, "lock", "break", neighbour);
    ck_assert(close(other) == 0 && unlink(neighbour) == 0);
    check_code(1);
    check_has(run.err, "not open in the daemon");
    RUN(serve, "lock", "break", "99");
    check_code(1);
    check_has(run.err, "99: not open in the daemon");
}
END_TEST

START_TEST(sync_status_says_what_has_failed_and_what_is_volatile)
{
    RUN(serve, "sync", "status");
    check_code(0);
    check_has(run.out, "unflushed");
    check_has(run.out, "12.3 ms");
    check_has(run.out, "2.0 s");
    check_has(run.out, "FAILED");
    check_has(run.err, "(/srv/broken.img) has FAILED: sync error 'No space left on device' at ");
    check_has(run.err, "volatile storage");
    RUN(serve, "sync", "status", "--json", image);
    check_code(0);
    check_has(run.out, "\"state\": \"unsynced\"");
    check_has(run.out, "\"flushes_asked\": 36");
    check_has(run.out, "\"syncs_issued\": 11");
    check_has(run.out, "\"flushes_shared\": 12");
    check_has(run.out, "\"flushes_elided\": 13");
    check_has(run.out, "\"unsynced_changes\": 21");
    check_lacks(run.out, "broken.img");
    ck_assert_str_eq(run.err, "");
    RUN(serve, "sync", "flush", image);
    check_code(0);
    ck_assert_uint_eq(fake.flushes, 1);
}
END_TEST

START_TEST(why_is_a_sentence_and_an_exit_code)
{
    held = safe = true;
    RUN(serve, "why", image);
    check_code(4);
    check_has(run.out, ": in use by 1 session and 1 holder outside blkd, 1 waiting. No failed "
                       "sync, nothing unflushed.\n");
    check_has(run.out, "rw, exclusive");
    check_has(run.out, "/mnt/with\\x0anewline");
    RUN(serve, "why", "--json", image);
    check_code(4);
    check_has(run.out, "\"held\": true");
    check_has(run.out, "\"kind\": \"mount\"");
    check_has(run.out, "\"session\": 9");
    held = safe = false;
    RUN(serve, "why", image);
    check_code(0);
    check_has(run.out,
              ": not in use, 1 waiting, not open in blkd. No failed sync, but some writes");
    failed = true;
    RUN(serve, "why", image);
    check_code(0);
    check_has(run.out, ". FAILED: a sync failed");
    failed = false;
}
END_TEST

START_TEST(recover_and_evict_name_what_they_mean)
{
    RUN(serve, "recover", image);
    check_code(0);
    ck_assert_str_eq(asked_recover_path, image);
    ck_assert_uint_eq(asked_recover, 0);
    check_has(run.out, "Input/output error");
    check_has(run.err, "stay lost");
    RUN(serve, "recover", "--json", "4");
    check_code(0);
    ck_assert_str_eq(asked_recover_path, "");
    ck_assert_uint_eq(asked_recover, 4);
    check_has(run.out, "\"generation\": 12");
    RUN(serve, "session", "evict", "21");
    check_code(0);
    ck_assert_uint_eq(asked_evict, 21);
}
END_TEST

static Suite *state_suite(void)
{
    Suite *suite = suite_create("cli_state");
    TCase *tests = tcase_create("state");

    tcase_add_checked_fixture(tests, scripted_setup, scripted_teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, lock_ls_tells_what_each_lock_is_at);
    tcase_add_test(tests, device_is_found_by_number_path_and_string);
    tcase_add_test(tests, sync_status_says_what_has_failed_and_what_is_volatile);
    tcase_add_test(tests, why_is_a_sentence_and_an_exit_code);
    tcase_add_test(tests, recover_and_evict_name_what_they_mean);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(state_suite());
    int failed_tests;

    srunner_run_all(runner, CK_ENV);
    failed_tests = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed_tests == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
