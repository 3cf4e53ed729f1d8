/* SPDX-License-Identifier: MIT */
/* libblkd's rings and a daemon that writes nonsense: the connection is lost, with a reason, and
 * nothing else happens. */
#include <dirent.h>

#include "tests/unit/client/lib/fake_ring_scene.h"
#include "tests/unit/suite.h"

static void assert_lost(const char *reason)
{
    uint8_t bytes[4 * FAKE_SECTOR];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), -ENOTCONN);
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(strstr(blkd_error_message(), reason) != NULL, "\"%s\" does not say \"%s\"",
                      blkd_error_message(), reason);
        ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
        ck_assert_int_eq(blkd_ping(connection), -ENOTCONN);
    }
    end();
}

static struct ring_words *words(const struct fake_ring *ring, int which)
{
    return (struct ring_words *)(void *)ring->memory + which;
}

static bool jump_ahead(struct fake *daemon, const struct ring_submission *submission)
{
    struct fake_ring *ring = fake_ring_of(daemon);

    (void)submission;
    atomic_store(&words(ring, 1)->tail, ring->entries + 1);
    fake_ring_tell(daemon);
    return true;
}

START_TEST(completions_jump_ahead)
{
    fake_rings.on_submission = jump_ahead;
    assert_lost("invalid data");
}
END_TEST

static bool run_backward(struct fake *daemon, const struct ring_submission *submission)
{
    if (submission->operation == RING_FLUSH)
        return false;
    atomic_store(&words(fake_ring_of(daemon), 1)->tail, UINT32_MAX);
    fake_ring_tell(daemon);
    return true;
}

START_TEST(completions_run_backward)
{
    fake_rings.on_submission = run_backward;
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(blkd_discard(device, 0, 1), -ENOTCONN);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "invalid data"));
    end();
}
END_TEST

static bool wrong_id(struct fake *daemon, const struct ring_submission *submission)
{
    fake_ring_complete(daemon, submission->id + 1, 0, "");
    return true;
}

START_TEST(completion_of_nothing)
{
    fake_rings.on_submission = wrong_id;
    assert_lost("not in flight");
}
END_TEST

static bool huge_id(struct fake *daemon, const struct ring_submission *submission)
{
    (void)submission;
    fake_ring_complete(daemon, UINT64_MAX, 0, "");
    return true;
}

START_TEST(completion_of_an_impossible_id)
{
    fake_rings.on_submission = huge_id;
    assert_lost("not in flight");
}
END_TEST

static bool twice(struct fake *daemon, const struct ring_submission *submission)
{
    fake_ring_put(daemon, submission->id, 0, "");
    fake_ring_complete(daemon, submission->id, 0, "");
    return true;
}

START_TEST(completed_twice)
{
    fake_rings.on_submission = twice;
    begin(BLKD_TIER_RING);
    (void)blkd_flush(device); /* which of the two is seen first is open */
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "not in flight"));
    end();
}
END_TEST

static uint64_t held_id;

static bool hold_info(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)daemon;
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_GET_INFO)
        return false;
    held_id = request->id;
    return true;
}

static bool answer_info(struct fake *daemon, const struct ring_submission *submission)
{
    if (held_id == 0)
        return false;
    (void)submission;
    fake_ring_complete(daemon, held_id, 0, "");
    return true;
}

static void on_info(void *user_data, int result)
{
    *(int *)user_data = result;
}

/* What went through the socket is not answered by ring. */
START_TEST(completion_of_a_request_of_the_socket)
{
    struct blkd_info info;
    int result = 1;

    fake_rings.on_request = hold_info;
    fake_rings.on_submission = answer_info;
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(blkd_get_info_async(device, &info, on_info, &result), 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "not in flight"));
    while (result == 1)
        (void)blkd_dispatch(connection, 1000);
    ck_assert_int_eq(result, -ENOTCONN);
    end();
}
END_TEST

static bool answer_by_socket(struct fake *daemon, const struct ring_submission *submission)
{
    fake_answer(daemon, submission->id, 0, "");
    return true;
}

START_TEST(reply_to_a_submission)
{
    fake_rings.on_submission = answer_by_socket;
    assert_lost("not in flight");
}
END_TEST

static bool release_too_much(struct fake *daemon, const struct ring_submission *submission)
{
    atomic_store(&words(fake_ring_of(daemon), 0)->head, 1000);
    fake_ring_complete(daemon, submission->id, 0, "");
    return true;
}

/* The submission ring's head is looked at only when the ring seems full. */
START_TEST(submissions_released_that_were_not_made)
{
    int r = 0;

    fake_rings.entries = 8;
    fake_rings.on_submission = release_too_much;
    begin(BLKD_TIER_RING);
    for (int i = 0; i < 9; i++) {
        r = blkd_flush(device);
        if (i < 8)
            ck_assert_int_eq(r, 0);
    }
    ck_assert_int_eq(r, -ENOTCONN);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "invalid data"));
    end();
}
END_TEST

static bool release_nothing(struct fake *daemon, const struct ring_submission *submission)
{
    atomic_store(&words(fake_ring_of(daemon), 0)->head, 0);
    fake_ring_complete(daemon, submission->id, 0, "");
    return true;
}

/* Nothing is in flight, and yet there is no room. */
START_TEST(submissions_never_released)
{
    int r = 0;

    fake_rings.entries = 8;
    fake_rings.on_submission = release_nothing;
    begin(BLKD_TIER_RING);
    for (int i = 0; i < 9; i++)
        r = blkd_flush(device);
    ck_assert_int_eq(r, -ENOTCONN);
    end();
}
END_TEST

static bool unknown_status(struct fake *daemon, const struct ring_submission *submission)
{
    struct fake_ring *ring = fake_ring_of(daemon);
    struct ring_completion completion = {submission->id, 4000000000u, 0};

    (void)ring_producer_put(&ring->completions, &completion);
    ring->answered++;
    fake_ring_publish(daemon);
    return true;
}

START_TEST(unknown_statuses_are_io_errors)
{
    fake_rings.on_submission = unknown_status;
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), -EIO);
    end();
}
END_TEST

/* ---- what is sent with descriptors ---- */

static unsigned int count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned int count = 0;

    ck_assert_ptr_nonnull(directory);
    while (readdir(directory) != NULL)
        count++;
    (void)closedir(directory);
    return count;
}

static void assert_refused(void)
{
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), -EPROTO);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "incomplete"));
    ck_assert_int_eq(blkd_ping(connection), 0);
    end();
}

START_TEST(descriptors_missing)
{
    fake_rings.sends_no_descriptors = true;
    assert_refused();
}
END_TEST

START_TEST(memory_smaller_than_said)
{
    fake_rings.short_memory = true;
    assert_refused();
}
END_TEST

static bool odd_entries(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__RingReply answer = FAKE_MESSAGE(Blkd__RingReply, blkd__ring_reply__init);
    const int fds[2] = {daemon->socket, daemon->socket};

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_SETUP_RING)
        return false;
    answer.entries = 24;
    answer.size_bytes = 1 << 20;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_RING;
    reply.ring = &answer;
    fake_ring_reply(daemon, &reply, fds, 2);
    return true;
}

START_TEST(impossible_number_of_entries)
{
    unsigned int before = count_descriptors() - 1; /* without the one for poking */

    fake_rings.on_request = odd_entries;
    assert_refused();
    ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

static bool other_body(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_ADD_ARENA)
        return false;
    fake_answer(daemon, request->id, 0, "");
    return true;
}

START_TEST(arena_reply_without_an_arena)
{
    fake_rings.on_request = other_body;
    assert_refused();
}
END_TEST

static bool give_descriptors(struct fake *daemon, const Blkd__Request *request,
                             const uint8_t *payload)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    const int fds[2] = {daemon->socket, daemon->listener};

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_PING)
        return false;
    reply.id = request->id;
    fake_ring_reply(daemon, &reply, fds, 2);
    return true;
}

START_TEST(descriptors_that_nobody_asked_for_are_closed)
{
    unsigned int before;

    fake_rings.on_request = give_descriptors;
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), 0);
    before = count_descriptors();
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_uint_eq(count_descriptors(), before);
    end();
}
END_TEST

START_TEST(nothing_is_left_behind)
{
    unsigned int before = count_descriptors() - 1;

    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), 0);
    (void)fake_shared_memory(connection, 1 << 20);
    end();
    ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("client rings, hostile daemon");
    TCase *tc = tcase_create("all");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, completions_jump_ahead);
    tcase_add_test(tc, completions_run_backward);
    tcase_add_test(tc, completion_of_nothing);
    tcase_add_test(tc, completion_of_an_impossible_id);
    tcase_add_test(tc, completed_twice);
    tcase_add_test(tc, completion_of_a_request_of_the_socket);
    tcase_add_test(tc, reply_to_a_submission);
    tcase_add_test(tc, submissions_released_that_were_not_made);
    tcase_add_test(tc, submissions_never_released);
    tcase_add_test(tc, unknown_statuses_are_io_errors);
    tcase_add_test(tc, descriptors_missing);
    tcase_add_test(tc, memory_smaller_than_said);
    tcase_add_test(tc, impossible_number_of_entries);
    tcase_add_test(tc, arena_reply_without_an_arena);
    tcase_add_test(tc, descriptors_that_nobody_asked_for_are_closed);
    tcase_add_test(tc, nothing_is_left_behind);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
