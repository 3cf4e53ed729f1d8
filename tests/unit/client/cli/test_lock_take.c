/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli against a scripted daemon: waiting for a lock, and running a command while holding it.
 */
#include <signal.h>

#include "tests/unit/client/cli/program.h"
#include "tests/unit/client/cli/scripted_daemon.h"

START_TEST(lock_wait_takes_and_lets_go)
{
    RUN(serve, "lock", "wait", "--lock", image);
    check_code(0);
    ck_assert(!asked_lock_at_open);
    ck_assert_uint_eq(asked_wait_ms, BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER);
    lock_refusal = -ETIMEDOUT;
    RUN(serve, "lock", "wait", "--timeout", "3", "--range", "2:5", image);
    lock_refusal = 0;
    check_code(4);
    check_has(run.err, "pid 123 (mirage)");
    ck_assert_uint_eq(asked_wait_ms, 3000);
    ck_assert_uint_eq(asked_offset, 2 * FAKE_SECTOR);
    ck_assert_uint_eq(asked_length, 5 * FAKE_SECTOR);
}
END_TEST

START_TEST(lock_take_is_refused_without_running_the_command)
{
    lock_refusal = -EBUSY;
    RUN(serve, "lock", "take", image, "--", "echo", "ran");
    lock_refusal = 0;
    check_code(4);
    check_has(run.err, "pid 123 (mirage)");
    check_has(run.err, "blkd-cli why");
    ck_assert_str_eq(run.out, "");
    ck_assert_uint_eq(asked_wait_ms, 0);
    ck_assert(!asked_isolate);
}
END_TEST

START_TEST(lock_take_exits_as_the_command_does)
{
    RUN(serve, "lock", "take", "--isolate", "-w", image, "--", "sh", "-c",
        "echo token $BLKD_LOCK_TOKEN; exit 42");
    check_code(42);
    check_has(run.out, "token 1\n");
    ck_assert(asked_isolate);
    ck_assert_uint_eq(asked_wait_ms, BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER);
    ck_assert_uint_eq(fake.closes, 1);
    RUN(serve, "lock", "take", "--shared", image, "--", "sh", "-c",
        "echo token ${BLKD_LOCK_TOKEN-none}");
    check_code(0);
    check_has(run.out, "token none\n");
    RUN(serve, "lock", "take", image, "--", "sh", "-c", "kill -KILL $$");
    check_code(128 + SIGKILL);
    RUN(serve, "lock", "take", image, "--", "/nonexistent/program");
    check_code(127);
    check_has(run.err, "cannot run /nonexistent/program");
    RUN(serve, "lock", "take", image, "--", image);
    check_code(126);
}
END_TEST

/* The shell's own `read` would not do: it blocks for ever if the signal comes just before. */
#define UNTIL_TRAPPED "while :; do sleep 0.05; done"

static void begin_take(fake_handler *handler, const char *option, const char *script)
{
    fake_init(&fake);
    fake.on_request = handler;
    fake_start(&fake);
    START("lock", "take", option, image, "--", "sh", "-c", script);
}

START_TEST(lock_take_passes_signals_on_and_waits)
{
    begin_take(serve, "--shared", "trap 'echo got it; exit 7' TERM; echo ready; " UNTIL_TRAPPED);
    program_wait_for("ready");
    ck_assert_int_eq(kill(run.pid, SIGTERM), 0);
    program_finish();
    check_code(7);
    check_has(run.out, "got it");
    ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

static void send_lost(struct fake *daemon)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__LockLost lost = FAKE_MESSAGE(Blkd__LockLost, blkd__lock_lost__init);

    event.session = 77;
    event.what_case = BLKD__EVENT__WHAT_LOCK_LOST;
    event.lock_lost = &lost;
    lost.reason = BLKD__LOCK_LOST__REASON__REASON_BROKEN;
    lost.locks = 1;
    fake_send_event(daemon, &event);
}

/* The lock is lost as soon as it is granted. */
static bool lose_lock(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_LOCK)
        return false;
    fake_lock(daemon, request);
    send_lost(daemon);
    return true;
}

/* The event is there before there is a command. */
static bool lose_lock_early(struct fake *daemon, const Blkd__Request *request,
                            const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_LOCK)
        return false;
    send_lost(daemon);
    fake_lock(daemon, request);
    return true;
}

static bool hang_up_after_lock(struct fake *daemon, const Blkd__Request *request,
                               const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_LOCK)
        return false;
    fake_lock(daemon, request);
    fake_hang_up(daemon);
    return true;
}

START_TEST(lost_lock_is_told_and_kills_if_asked_to)
{
    begin_take(lose_lock, "--kill-on-loss", "while :; do read x; done");
    program_finish();
    check_code(128 + SIGTERM);
    check_has(run.err, "lock lost while the command (pid ");
    check_has(run.err, "broken by an administrator");
    begin_take(hang_up_after_lock, "--kill-on-loss", "while :; do read x; done");
    program_finish();
    check_code(128 + SIGTERM);
    check_has(run.err, "the daemon stopped or closed the connection");
    begin_take(lose_lock_early, "--kill-on-loss", "while :; do read x; done");
    program_finish();
    check_code(128 + SIGTERM);
    check_has(run.err, "broken by an administrator");
}
END_TEST

START_TEST(lost_lock_leaves_the_command_alone_otherwise)
{
    begin_take(lose_lock, "--shared",
               "trap 'exit 5' INT; trap 'exit 6' TERM; echo ready; " UNTIL_TRAPPED);
    program_wait_for("ready");
    program_wait_for("lock lost");
    ck_assert_int_eq(kill(run.pid, SIGINT), 0);
    program_finish();
    check_code(5);
}
END_TEST

static Suite *lock_take_suite(void)
{
    Suite *suite = suite_create("cli_lock_take");
    TCase *tests = tcase_create("lock_take");

    tcase_add_checked_fixture(tests, scripted_setup, scripted_teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, lock_wait_takes_and_lets_go);
    tcase_add_test(tests, lock_take_is_refused_without_running_the_command);
    tcase_add_test(tests, lock_take_exits_as_the_command_does);
    tcase_add_test(tests, lock_take_passes_signals_on_and_waits);
    tcase_add_test(tests, lost_lock_is_told_and_kills_if_asked_to);
    tcase_add_test(tests, lost_lock_leaves_the_command_alone_otherwise);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(lock_take_suite());
    int failed_tests;

    srunner_run_all(runner, CK_ENV);
    failed_tests = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed_tests == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
