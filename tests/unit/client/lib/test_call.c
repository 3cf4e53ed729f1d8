/* SPDX-License-Identifier: MIT */
/* Calls by themselves, without a connection: their parts, their ends, and what their owner is told.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/base/error.h"
#include "client/lib/call/call.h"
#include "tests/unit/suite.h"

static struct call_table table;
static struct session session;
static char path[] = "/srv/a.img";

/* What the owner was told. */
static struct call *done[4];
static unsigned int done_count;
static unsigned int lost_count;
static unsigned int released_count;

static void on_done(struct call_table *calls, struct call *call)
{
    ck_assert_ptr_eq(calls, &table);
    ck_assert_int_eq(call->progress.state, CALL_DONE);
    ck_assert_uint_lt(done_count, 4);
    done[done_count++] = call;
}

static void on_lost(struct call_table *calls)
{
    lost_count++;
    call_fail_all(calls);
}

static void describe(const struct call *call, char *text, size_t size)
{
    (void)snprintf(text, size, "test of %s", call->session->path);
}

static void release(void *context)
{
    ck_assert_ptr_eq(context, path);
    released_count++;
}

static const struct operation operation = {.describe = describe, .release = release};

static void setup(void)
{
    static const struct call_owner owner = {.on_done = on_done, .on_lost = on_lost};

    call_table_init(&table, &owner);
    session = (struct session){.number = 7, .sector_size = 512, .path = path};
    done_count = lost_count = released_count = 0;
}

static void teardown(void)
{
    for (unsigned int i = 0; i < done_count; i++)
        call_release(done[i]);
    call_table_deinit(&table);
}

static struct call *submit(bool parked)
{
    struct call *call = call_new(&table);

    ck_assert_ptr_nonnull(call);
    call->operation = &operation;
    call->session = &session;
    call->mode = CALL_WAITS;
    call->range.length_bytes = 4096;
    call->asked.parked = parked;
    call->asked.context = path;
    call_submit(call);
    return call;
}

START_TEST(the_last_part_ends_the_call)
{
    struct call *call = submit(false);

    call_part_started(call, true);
    call_part_started(call, false);
    call_part_ended(call);
    ck_assert_uint_eq(done_count, 0);
    call_part_ended(call);
    ck_assert_uint_eq(done_count, 1);
    ck_assert_int_eq(call->result.error, 0);
    ck_assert(!call_table_waits(&table));
}
END_TEST

/* The user hears where the transfer failed first, not which part's answer came first. */
START_TEST(the_failure_at_the_lowest_offset_counts)
{
    struct call *call = submit(false);

    for (int i = 0; i < 3; i++)
        call_part_started(call, true);
    call_part_failed(call, 2048, -EIO, "behind");
    ck_assert(!call_table_waits(&table)); /* no further parts start */
    call_part_failed(call, 1024, -ENOSPC, "in front");
    call_part_failed(call, 3072, -EFBIG, "far behind");
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(done_count, 0);
        call_part_ended(call);
    }
    ck_assert_uint_eq(done_count, 1);
    ck_assert_int_eq(call->result.error, -ENOSPC);
    ck_assert_ptr_nonnull(strstr(call->result.message, "test of /srv/a.img failed: "));
    ck_assert_ptr_nonnull(strstr(call->result.message, "in front"));
    call_tell_message(call);
    ck_assert_str_eq(blkd_error_message(), call->result.message);
}
END_TEST

/* The daemon's sentence names what was tried as well. */
START_TEST(what_failed_on_what_is_said_once)
{
    static const struct {
        const char *detail, *message;
    } cases[] = {
        /* What the errno says already. */
        {"open of /srv/a.img: cannot open it: No space left on device",
         "cannot open it: No space left on device"},
        {"write of 512 bytes at offset 0 of /srv/a.img: session 1 holds it",
         "No space left on device: session 1 holds it"},
        {"read of /srv/a.img: No space left on device", "No space left on device"},
        {"open of /srv/a.img.old: it is there",
         "No space left on device: open of /srv/a.img.old: it is there"},
        {"evict: there is no such session",
         "No space left on device: evict: there is no such session"},
        {"", "No space left on device"},
        {NULL, "No space left on device"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct call *call = submit(false);
        char expected[256];

        (void)snprintf(expected, sizeof(expected), "test of /srv/a.img failed: %s",
                       cases[i].message);
        call_part_started(call, true);
        call_part_failed(call, 0, -ENOSPC, cases[i].detail);
        call_part_ended(call);
        ck_assert_str_eq(call->result.message, expected);
        call_release(done[--done_count]);
    }
}
END_TEST

START_TEST(calls_with_several_parts_take_turns)
{
    struct call *first = submit(false);
    struct call *second = submit(false);

    ck_assert_ptr_eq(TAILQ_FIRST(&table.backlog), first);
    call_part_started(first, true);
    ck_assert_ptr_eq(TAILQ_FIRST(&table.backlog), second);
    call_part_started(second, true);
    ck_assert_ptr_eq(TAILQ_FIRST(&table.backlog), first);
    call_part_started(first, false);
    ck_assert_ptr_eq(TAILQ_FIRST(&table.backlog), second);
    call_table_lose(&table, "enough");
}
END_TEST

START_TEST(calls_wait_in_the_backlog_of_their_way)
{
    struct call *call = call_new(&table);

    ck_assert_ptr_nonnull(call);
    call->operation = &operation;
    call->session = &session;
    call->asked.context = path;
    call->progress.by_ring = true;
    call_submit(call);
    ck_assert_ptr_null(TAILQ_FIRST(&table.backlog));
    ck_assert_ptr_eq(TAILQ_FIRST(&table.ring_backlog), call);
    ck_assert(call_table_waits(&table));
    call_part_started(call, false);
    ck_assert(!call_table_waits(&table));
    call_part_ended(call);
}
END_TEST

START_TEST(a_session_counts_its_calls)
{
    struct call *first = submit(false);
    struct call *second = submit(true);

    ck_assert_uint_eq(session.pending, 2);
    ck_assert_uint_eq(session.parked, 1);
    call_part_started(second, false);
    call_part_ended(second);
    ck_assert_uint_eq(session.pending, 1);
    ck_assert_uint_eq(session.parked, 0);
    call_part_started(first, false);
    call_part_ended(first);
    ck_assert_uint_eq(session.pending, 0);
}
END_TEST

START_TEST(a_lost_connection_ends_every_call)
{
    struct call *first = submit(false);
    struct call *second;

    call_part_started(first, false);
    (void)submit(true);
    call_table_lose(&table, "the daemon (pid %d) is gone", 5);
    ck_assert_uint_eq(lost_count, 1);
    ck_assert_uint_eq(done_count, 2);
    ck_assert_uint_eq(session.pending, 0);
    for (unsigned int i = 0; i < done_count; i++) {
        ck_assert_int_eq(done[i]->result.error, -ENOTCONN);
        ck_assert_ptr_nonnull(strstr(done[i]->result.message, "the daemon (pid 5) is gone"));
    }
    call_table_lose(&table, "again");
    ck_assert_uint_eq(lost_count, 1);
    ck_assert_str_eq(table.lost_reason, "the daemon (pid 5) is gone");

    second = submit(false); /* what comes later fails at once */
    ck_assert_uint_eq(done_count, 3);
    ck_assert_int_eq(second->result.error, -ENOTCONN);
    ck_assert(!call_table_waits(&table));
}
END_TEST

START_TEST(what_cannot_be_sent_is_refused)
{
    struct call *call = call_new(&table);

    ck_assert_ptr_nonnull(call);
    call->operation = &operation;
    call->session = &session;
    call->asked.context = path;
    call_refuse(call, -EOPNOTSUPP, "no way there");
    ck_assert_uint_eq(done_count, 1);
    ck_assert_int_eq(call->result.error, -EOPNOTSUPP);
    ck_assert_uint_eq(session.pending, 0);
}
END_TEST

/* As a retry does: the old failure is gone, and what the verb keeps is released only once. */
START_TEST(a_call_can_be_submitted_again)
{
    struct call *call = submit(false);

    call_part_started(call, false);
    call_part_failed(call, 0, -EACCES, NULL);
    call_part_ended(call);
    ck_assert_uint_eq(done_count, 1);
    ck_assert_uint_eq(released_count, 0);
    done_count = 0;
    call_submit(call);
    ck_assert_int_eq(call->result.error, 0);
    ck_assert_ptr_null(call->result.message);
    ck_assert_ptr_eq(TAILQ_FIRST(&table.backlog), call);
    call_part_started(call, false);
    call_part_ended(call);
    ck_assert_uint_eq(done_count, 1);
    call_release(done[--done_count]);
    ck_assert_uint_eq(released_count, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_call");
    TCase *tests = tcase_create("calls");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_last_part_ends_the_call);
    tcase_add_test(tests, the_failure_at_the_lowest_offset_counts);
    tcase_add_test(tests, what_failed_on_what_is_said_once);
    tcase_add_test(tests, calls_with_several_parts_take_turns);
    tcase_add_test(tests, calls_wait_in_the_backlog_of_their_way);
    tcase_add_test(tests, a_session_counts_its_calls);
    tcase_add_test(tests, a_lost_connection_ends_every_call);
    tcase_add_test(tests, what_cannot_be_sent_is_refused);
    tcase_add_test(tests, a_call_can_be_submitted_again);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
