/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli against a scripted daemon: events as they happen.
 */
#include <signal.h>

#include "tests/unit/client/cli/program.h"
#include "tests/unit/client/cli/scripted_daemon.h"

static bool happen(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__Happening happening = FAKE_MESSAGE(Blkd__Happening, blkd__happening__init);

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_WATCH)
        return false;
    fake_answer(daemon, request->id, 0, "");
    event.what_case = BLKD__EVENT__WHAT_HAPPENING;
    event.happening = &happening;
    happening.what = BLKD__HAPPENING__WHAT__WHAT_RESIZED;
    happening.device = 3;
    happening.path = BYTES("/srv/a.img");
    happening.size_bytes = 4096;
    fake_send_event(daemon, &event);
    happening.what = BLKD__HAPPENING__WHAT__WHAT_DEVICE_CLOSED;
    fake_send_event(daemon, &event);
    return true;
}

START_TEST(watch_prints_until_it_is_told_to_stop)
{
    static const int signals[] = {SIGINT, SIGTERM};

    for (size_t i = 0; i < 2; i++) {
        fake_init(&fake);
        fake.on_request = happen;
        fake_start(&fake);
        if (i == 0)
            START("watch");
        else
            START("watch", "--json");
        program_wait_for("device-closed"); /* written while it still runs */
        ck_assert_int_eq(kill(run.pid, signals[i]), 0);
        program_finish();
        check_code(0);
        check_has(run.out, i == 0 ? "resized" : "\"event\": \"resized\"");
        check_has(run.out, i == 0 ? "/srv/a.img: 4096 bytes" : "\"size_bytes\": 4096");
    }
}
END_TEST

static bool happen_and_go(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    if (!happen(daemon, request, payload))
        return false;
    fake_hang_up(daemon);
    return true;
}

START_TEST(watch_ends_with_the_daemon)
{
    RUN(happen_and_go, "watch");
    check_code(3);
    check_has(run.out, "device-closed");
    check_has(run.err, "not connected to blkd any more");
}
END_TEST

static Suite *watch_suite(void)
{
    Suite *suite = suite_create("cli_watch");
    TCase *tests = tcase_create("watch");

    tcase_add_checked_fixture(tests, scripted_setup, scripted_teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, watch_prints_until_it_is_told_to_stop);
    tcase_add_test(tests, watch_ends_with_the_daemon);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(watch_suite());
    int failed_tests;

    srunner_run_all(runner, CK_ENV);
    failed_tests = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed_tests == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
