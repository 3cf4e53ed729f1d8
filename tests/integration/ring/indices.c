/* SPDX-License-Identifier: MIT */
/* Words of the rings that cannot be: the connection is closed with EPROTO, and what it had is given
 * back. And words that may be anything, because nobody relies on them. */
#include "scene.h"

#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "common/status.h"

static void store_tail(uint32_t tail)
{
    atomic_store(&peer_submission_words(&scene.peer)->tail, tail);
    peer_ring_doorbell(&scene.peer);
}

static struct ring_submission flush(void)
{
    return scene_submission(RING_FLUSH);
}

static void complete(unsigned int count)
{
    struct ring_submission submission = flush();
    for (unsigned int i = 0; i < count; i++)
        ASSERT_DONE(peer_io(&scene.peer, &submission));
}

static uint32_t completed(void)
{
    return atomic_load(&peer_completion_words(&scene.peer)->tail);
}

/* Submits, and takes no completion, until the daemon has had enough. */
static void press_on(void)
{
    struct ring_submission submission = flush();
    struct pollfd pollfd = {.fd = scene.peer.socket, .events = POLLIN};
    uint64_t begin_ms = observe_now_ms();
    for (unsigned int i = 0; i < 4 * SCENE_ENTRIES;) {
        int result = peer_submit(&scene.peer, &submission);
        if (result == 0)
            i++;
        else if (result != -EBUSY || poll(&pollfd, 1, 0) > 0 ||
                 !observe_again(begin_ms, OBSERVE_EVER_MS))
            break; /* it has closed the connection, or tells why */
    }
    peer_ring_doorbell(&scene.peer);
}

static void jump_by_one_too_many(void)
{
    store_tail(SCENE_ENTRIES + 1);
}

static void jump_far(void)
{
    complete(3);
    store_tail(UINT32_C(1) << 31);
}

static void go_back_by_one(void)
{
    complete(3);
    store_tail(2);
}

static void go_back_behind_the_begin(void)
{
    store_tail(UINT32_MAX);
}

static void go_back_with_much_in_flight(void)
{
    struct ring_submission submission = flush();
    for (unsigned int i = 0; i < SCENE_ENTRIES; i++)
        ASSERT_DONE(peer_submit(&scene.peer, &submission));
    AWAIT(completed() == SCENE_ENTRIES, OBSERVE_EVER_MS);
    store_tail(SCENE_ENTRIES - 1);
}

/* All completions are there, none was taken. */
static void one_more_than_entries(void)
{
    struct ring_submission submission = flush();
    for (unsigned int i = 0; i < SCENE_ENTRIES; i++)
        ASSERT_DONE(peer_submit(&scene.peer, &submission));
    AWAIT(completed() == SCENE_ENTRIES, OBSERVE_EVER_MS);
    store_tail(SCENE_ENTRIES + 1);
}

static void take_what_is_not_there(void)
{
    complete(2);
    atomic_store(&peer_completion_words(&scene.peer)->head, completed() + 1);
    press_on();
}

static void take_far_ahead(void)
{
    complete(2);
    atomic_store(&peer_completion_words(&scene.peer)->head, completed() + (UINT32_C(1) << 31));
    press_on();
}

static void take_back_what_was_taken(void)
{
    complete(SCENE_ENTRIES);
    atomic_store(&peer_completion_words(&scene.peer)->head, 0);
    press_on();
}

static void (*const wrongs[])(void) = {
    jump_by_one_too_many,
    jump_far,
    go_back_by_one,
    go_back_behind_the_begin,
    go_back_with_much_in_flight,
    one_more_than_entries,
    take_what_is_not_there,
    take_far_ahead,
    take_back_what_was_taken,
};
enum { WRONGS = sizeof(wrongs) / sizeof(wrongs[0]) };

START_TEST(impossible_index_closes_the_connection)
{
    wrongs[_i]();
    ASSERT_REFUSED(peer_await_close(&scene.peer), EPROTO);
    scene_expect_reclaimed();
}
END_TEST

/* Zeroes that were never filled in are submissions too. */
START_TEST(entries_that_were_never_filled_are_refused_one_by_one)
{
    memset(peer_submission_at(&scene.peer, 0), 0, SCENE_ENTRIES * sizeof(struct ring_submission));
    store_tail(SCENE_ENTRIES);
    for (unsigned int i = 0; i < SCENE_ENTRIES; i++) {
        struct ring_completion completion = {.id = 1};
        ASSERT_DONE(peer_wait(&scene.peer, &completion, NULL));
        ck_assert_uint_eq(completion.id, 0);
        ck_assert_int_eq(status_to_errno((Blkd__Status)completion.status), -EOPNOTSUPP);
    }
    ASSERT_DONE(peer_ping(&scene.peer));
}
END_TEST

/* need_wakeup and consumer_cpu are hints, for its own good. */
START_TEST(hints_that_lie_harm_nobody)
{
    static const uint32_t values[] = {0, 1, 2, 3, UINT32_C(1) << 31, UINT32_MAX};
    struct ring_words *words[2] = {peer_submission_words(&scene.peer),
                                   peer_completion_words(&scene.peer)};
    struct ring_submission submission = flush();
    for (uint32_t i = 0; i < 36 * 2; i++) {
        uint32_t before = completed();
        for (unsigned int side = 0; side < 2; side++) {
            atomic_store(&words[side]->consumer_cpu, values[i % 6]);
            atomic_store(&words[side]->need_wakeup, values[i / 6 % 6]);
        }
        ASSERT_DONE(peer_submit(&scene.peer, &submission));
        peer_ring_doorbell(&scene.peer);
        AWAIT(completed() == before + 1, OBSERVE_EVER_MS);
        struct ring_completion completion = {.id = 0};
        ASSERT_DONE(peer_wait(&scene.peer, &completion, NULL));
        ck_assert_int_eq((int)completion.status, 0);
    }
}
END_TEST

/* What the daemon writes, and what it has read, is nothing that it looks at again. */
START_TEST(scribbling_over_what_is_the_daemons_is_not_seen)
{
    size_t begin = scene.peer.layout.submissions;
    for (unsigned int round = 0; round < 200; round++) {
        uint32_t before = completed();
        ck_assert_int_ge(
            (int)getrandom(scene.peer.rings + begin, scene.peer.layout.size_bytes - begin, 0), 1);
        struct ring_submission submission = flush();
        ASSERT_DONE(peer_submit(&scene.peer, &submission));
        peer_ring_doorbell(&scene.peer);
        AWAIT(completed() == before + 1, OBSERVE_EVER_MS);
        struct ring_completion completion = {.id = 0};
        ASSERT_DONE(peer_wait(&scene.peer, &completion, NULL));
        ck_assert_uint_eq(completion.id, submission.id);
        ck_assert_uint_eq(completion.status, 0);
    }
}
END_TEST

/* The daemon's own indices are its private ones. */
START_TEST(what_the_daemon_publishes_is_not_read_back)
{
    struct ring_submission submission = flush();
    complete(5);
    atomic_store(&peer_completion_words(&scene.peer)->tail, 1000);
    atomic_store(&peer_submission_words(&scene.peer)->head, 1000);
    ASSERT_DONE(peer_submit(&scene.peer, &submission));
    peer_ring_doorbell(&scene.peer);
    AWAIT(completed() == 6, OBSERVE_EVER_MS);
    AWAIT(atomic_load(&peer_submission_words(&scene.peer)->head) == 6, OBSERVE_EVER_MS);
    complete(5);
}
END_TEST

START_TEST(completions_that_are_never_taken_stop_nobody)
{
    struct ring_submission submission = scene_read();
    for (unsigned int i = 0; i < SCENE_ENTRIES; i++)
        ASSERT_DONE(peer_submit(&scene.peer, &submission));
    AWAIT(completed() == SCENE_ENTRIES, OBSERVE_EVER_MS);
    for (unsigned int i = 0; i < 100; i++)
        scene_check_bystander();
    ASSERT_DONE(peer_ping(&scene.peer));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/ring/indices");
    TCase *tests = scene_case(suite, "indices");
    tcase_add_loop_test(tests, impossible_index_closes_the_connection, 0, WRONGS);
    tcase_add_test(tests, entries_that_were_never_filled_are_refused_one_by_one);
    tcase_add_test(tests, hints_that_lie_harm_nobody);
    tcase_add_test(tests, scribbling_over_what_is_the_daemons_is_not_seen);
    tcase_add_test(tests, what_the_daemon_publishes_is_not_read_back);
    tcase_add_test(tests, completions_that_are_never_taken_stop_nobody);
    return harness_main(suite);
}
