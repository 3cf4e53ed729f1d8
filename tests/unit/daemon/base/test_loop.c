/* SPDX-License-Identifier: MIT */
/* The loop of a thread (letters, jobs, timers) and the clock, without a worker: the test's own
 * thread runs the loop. */
#include "daemon/base/loop.h"

#include <check.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "common/container.h"
#include "daemon/base/clock.h"
#include "tests/unit/patience.h"
#include "tests/unit/suite.h"

enum { NEVER_MS = 3600000 };

static struct helper_pool *helpers;
static struct loop loop;
static unsigned int deliveries;
static unsigned int fired;
static unsigned int fire_again;

static void set_up(void)
{
    deliveries = fired = fire_again = 0;
    ck_assert_int_eq(helper_new(1, "helper", &helpers), 0);
    ck_assert_int_eq(loop_init(&loop, helpers), 0);
}

static void tear_down(void)
{
    loop_deinit(&loop);
    helpers = helper_free(helpers);
}

/* ---- letters ---- */

struct note {
    struct letter letter;
    unsigned int delivered; /* its place among all */
};

static void on_note(struct letter *letter)
{
    struct note *note = CONTAINER_OF(letter, struct note, letter);
    ck_assert_uint_eq(note->delivered, 0);
    note->delivered = ++deliveries;
}

START_TEST(posted_letters_are_delivered_in_their_order_when_the_loop_looks)
{
    struct note notes[2] = {{.letter.deliver = on_note}, {.letter.deliver = on_note}};
    loop_post(&loop, &notes[1].letter);
    ck_assert(loop_try_post(&loop, &notes[0].letter));
    ck_assert_uint_eq(deliveries, 0);
    ck_assert_uint_eq(mailbox_drain(&loop.mailbox), 2);
    ck_assert_uint_eq(notes[1].delivered, 1);
    ck_assert_uint_eq(notes[0].delivered, 2);
}
END_TEST

START_TEST(letter_to_a_loop_that_has_ended_is_not_posted)
{
    struct note note = {.letter.deliver = on_note};
    ck_assert(mailbox_shut(&loop.mailbox));
    ck_assert(!loop_try_post(&loop, &note.letter));
    ck_assert_uint_eq(mailbox_drain(&loop.mailbox), 0);
    ck_assert_uint_eq(note.delivered, 0);
}
END_TEST

START_TEST(end_of_the_loop_delivers_the_letters_that_are_left)
{
    struct loop other;
    struct note note = {.letter.deliver = on_note};
    ck_assert_int_eq(loop_init(&other, helpers), 0);
    ck_assert(mailbox_shut(&other.mailbox));
    loop_post(&other, &note.letter);
    loop_deinit(&other);
    ck_assert_uint_eq(note.delivered, 1);
}
END_TEST

START_TEST(holds_are_counted_until_as_many_releases)
{
    ck_assert_uint_eq(loop.pending, 0);
    loop_hold(&loop);
    loop_hold(&loop);
    loop_release(&loop);
    ck_assert_uint_eq(loop.pending, 1);
    loop_release(&loop);
    ck_assert_uint_eq(loop.pending, 0);
}
END_TEST

/* ---- jobs ---- */

struct work {
    struct helper_job job;
    pthread_t ran_on;
    pthread_t done_on;
    bool ran;
    bool done;
};

static void on_run(struct helper_job *job)
{
    struct work *work = CONTAINER_OF(job, struct work, job);
    work->ran_on = pthread_self();
    work->ran = true;
}

static void on_done(struct helper_job *job)
{
    struct work *work = CONTAINER_OF(job, struct work, job);
    ck_assert(work->ran);
    work->done_on = pthread_self();
    work->done = true;
}

START_TEST(job_runs_on_a_helper_and_ends_on_the_loops_thread)
{
    struct work work = {.job = {.run = on_run, .on_done = on_done}};
    struct pollfd ready = {.fd = mailbox_fd(&loop.mailbox), .events = POLLIN};
    loop_submit(&loop, &work.job);
    ck_assert_int_eq(poll(&ready, 1, -1), 1);
    ck_assert(!work.done);
    ck_assert_uint_eq(mailbox_drain(&loop.mailbox), 1);
    ck_assert(work.done);
    ck_assert(!pthread_equal(work.ran_on, pthread_self()));
    ck_assert(pthread_equal(work.done_on, pthread_self()));
}
END_TEST

/* ---- timers ---- */

static void on_time(struct loop_timer *timer)
{
    fired++;
    if (fire_again > 0) {
        fire_again--;
        ck_assert_int_eq(loop_timer_set(timer, &loop, 1), 0);
    }
}

static void on_time_deinit(struct loop_timer *timer)
{
    fired++;
    loop_timer_deinit(timer);
}

static void on_last(struct loop_timer *timer)
{
    (void)timer;
    (void)event_base_loopbreak(loop.events);
}

/* Runs the loop until a timer that is set now fires: by then, all that were due before it have. */
static void run_for_ms(unsigned int delay_ms)
{
    struct loop_timer last = {.on_time = on_last};
    ck_assert_int_eq(loop_timer_set(&last, &loop, delay_ms), 0);
    ck_assert_int_eq(event_base_dispatch(loop.events), 0);
    loop_timer_deinit(&last);
}

START_TEST(timer_fires_once_and_not_early)
{
    struct loop_timer timer = {.on_time = on_time};
    uint64_t begin_ms = clock_ms();
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 50), 0);
    ck_assert_uint_eq(fired, 0);
    ck_assert_int_eq(event_base_loop(loop.events, EVLOOP_ONCE), 0);
    ck_assert_uint_eq(fired, 1);
    ck_assert_uint_ge(clock_ms() - begin_ms, 49); /* clock_ms cuts off */
    run_for_ms(60);
    ck_assert_uint_eq(fired, 1);
    loop_timer_deinit(&timer);
}
END_TEST

START_TEST(setting_a_timer_again_replaces_the_setting)
{
    struct loop_timer sooner = {.on_time = on_time};
    struct loop_timer later = {.on_time = on_time};
    ck_assert_int_eq(loop_timer_set(&sooner, &loop, NEVER_MS), 0);
    ck_assert_int_eq(loop_timer_set(&sooner, &loop, 1), 0);
    ck_assert_int_eq(loop_timer_set(&later, &loop, 1), 0);
    ck_assert_int_eq(loop_timer_set(&later, &loop, NEVER_MS), 0);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 1);
    loop_timer_deinit(&sooner);
    loop_timer_deinit(&later);
}
END_TEST

START_TEST(cancelled_timer_does_not_fire_and_can_be_set_again)
{
    struct loop_timer timer = {.on_time = on_time};
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 1), 0);
    loop_timer_cancel(&timer);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 0);
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 1), 0);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 1);
    loop_timer_deinit(&timer);
}
END_TEST

START_TEST(freed_timer_does_not_fire_and_can_be_set_again)
{
    struct loop_timer timer = {.on_time = on_time};
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 1), 0);
    loop_timer_deinit(&timer);
    ck_assert_ptr_null(timer.event);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 0);
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 1), 0);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 1);
    loop_timer_deinit(&timer);
}
END_TEST

START_TEST(timer_may_be_set_again_when_it_fires)
{
    struct loop_timer timer = {.on_time = on_time};
    fire_again = 3;
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 1), 0);
    while (fired < 4)
        ck_assert_int_eq(event_base_loop(loop.events, EVLOOP_ONCE), 0);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 4);
    loop_timer_deinit(&timer);
}
END_TEST

START_TEST(timer_may_be_freed_when_it_fires)
{
    struct loop_timer timer = {.on_time = on_time_deinit};
    ck_assert_int_eq(loop_timer_set(&timer, &loop, 1), 0);
    run_for_ms(30);
    ck_assert_uint_eq(fired, 1);
    ck_assert_ptr_null(timer.event);
}
END_TEST

START_TEST(timer_that_was_never_set_can_be_cancelled_and_freed)
{
    struct loop_timer timer = {.on_time = on_time};
    loop_timer_cancel(&timer);
    loop_timer_deinit(&timer);
    ck_assert_ptr_null(timer.event);
}
END_TEST

/* ---- the clock ---- */

START_TEST(clock_never_goes_back)
{
    uint64_t last_ns = 0;
    uint64_t last_ms = 0;
    for (unsigned int i = 0; i < 100000; i++) {
        uint64_t now_ns = clock_ns();
        uint64_t now_ms = clock_ms();
        ck_assert(now_ns >= last_ns && now_ms >= last_ms);
        last_ns = now_ns;
        last_ms = now_ms;
    }
    ck_assert_uint_gt(last_ns, 0);
}
END_TEST

static uint64_t wall_ms(void)
{
    return patience_us(CLOCK_REALTIME) / 1000;
}

/* The coarse clocks lag by a tick. */
static bool coarse_clocks_are_close(void)
{
    uint64_t begin_us = patience_us(CLOCK_MONOTONIC);
    uint64_t coarse_ms = clock_ms();
    uint64_t begin_wall_ms = wall_ms();
    uint64_t coarse_wall_ms = clock_unix_ms();
    return coarse_ms * 1000 + 20000 >= begin_us && coarse_wall_ms + 20 >= begin_wall_ms;
}

START_TEST(clocks_tell_the_time_in_their_units)
{
    uint64_t begin_us = patience_us(CLOCK_MONOTONIC);
    uint64_t fine_us = clock_ns() / 1000;
    uint64_t coarse_ms = clock_ms();
    uint64_t end_us = patience_us(CLOCK_MONOTONIC);
    ck_assert_uint_ge(fine_us, begin_us);
    ck_assert_uint_le(fine_us, end_us);
    ck_assert_uint_le(coarse_ms, end_us / 1000);
    uint64_t coarse_wall_ms = clock_unix_ms();
    ck_assert_uint_le(coarse_wall_ms, wall_ms());
    ck_assert(patience_try(coarse_clocks_are_close));
}
END_TEST

static TCase *mail_tests(void)
{
    TCase *tests = tcase_create("letters and jobs");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, posted_letters_are_delivered_in_their_order_when_the_loop_looks);
    tcase_add_test(tests, letter_to_a_loop_that_has_ended_is_not_posted);
    tcase_add_test(tests, end_of_the_loop_delivers_the_letters_that_are_left);
    tcase_add_test(tests, holds_are_counted_until_as_many_releases);
    tcase_add_test(tests, job_runs_on_a_helper_and_ends_on_the_loops_thread);
    return tests;
}

static TCase *timer_tests(void)
{
    TCase *tests = tcase_create("timers and clocks");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, timer_fires_once_and_not_early);
    tcase_add_test(tests, setting_a_timer_again_replaces_the_setting);
    tcase_add_test(tests, cancelled_timer_does_not_fire_and_can_be_set_again);
    tcase_add_test(tests, freed_timer_does_not_fire_and_can_be_set_again);
    tcase_add_test(tests, timer_may_be_set_again_when_it_fires);
    tcase_add_test(tests, timer_may_be_freed_when_it_fires);
    tcase_add_test(tests, timer_that_was_never_set_can_be_cancelled_and_freed);
    tcase_add_test(tests, clock_never_goes_back);
    tcase_add_test(tests, clocks_tell_the_time_in_their_units);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("loop");
    suite_add_tcase(suite, mail_tests());
    suite_add_tcase(suite, timer_tests());
    return suite_run(suite);
}
