/* SPDX-License-Identifier: MIT */
/* Events of libblkd against a scripted daemon: which arrive, in which order, how many may wait. */
#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

enum { SEEN_MAX = 5000 };

static struct blkd_event seen[SEEN_MAX];
static struct blkd_happening seen_happening[SEEN_MAX];
static unsigned int seen_count;
static char seen_path[64], seen_command[64], seen_purpose[64];

static void on_event(void *user_data, const struct blkd_event *event)
{
    ck_assert_ptr_eq(user_data, &seen_count);
    ck_assert_uint_lt(seen_count, SEEN_MAX);
    seen[seen_count] = *event;
    if (event->happening != NULL) {
        seen_happening[seen_count] = *event->happening;
        (void)snprintf(seen_path, sizeof(seen_path), "%s", event->happening->path);
        (void)snprintf(seen_command, sizeof(seen_command), "%s", event->happening->command);
        (void)snprintf(seen_purpose, sizeof(seen_purpose), "%s", event->happening->purpose);
    }
    seen_count++;
}

static unsigned int happenings_to_send;

static void send_happenings(struct fake *daemon)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__Happening happening = FAKE_MESSAGE(Blkd__Happening, blkd__happening__init);

    event.what_case = BLKD__EVENT__WHAT_HAPPENING;
    event.happening = &happening;
    happening.what = BLKD__HAPPENING__WHAT__WHAT_LOCK_GRANTED;
    happening.device = 1;
    happening.session = 2;
    happening.path = BYTES("/srv/b.img");
    happening.unix_ms = 3;
    happening.pid = 4;
    happening.uid = 5;
    happening.command = TEXT("qemu");
    happening.mode = BLKD__LOCK_MODE__LOCK_MODE_SHARED;
    happening.offset_bytes = 6;
    happening.length_bytes = 7;
    happening.token = 8;
    happening.size_bytes = 9;
    happening.generation = 10;
    happening.status = BLKD__STATUS__STATUS_EIO;
    happening.purpose = TEXT("a vm");
    for (unsigned int i = 0; i < happenings_to_send; i++) {
        event.sequence = i + 1;
        happening.left_out = i == 1 ? 100 : 0;
        fake_send_event(daemon, &event);
    }
}

static void send_lock_events(struct fake *daemon)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__LockGranted granted = FAKE_MESSAGE(Blkd__LockGranted, blkd__lock_granted__init);
    Blkd__LockLost lost = FAKE_MESSAGE(Blkd__LockLost, blkd__lock_lost__init);
    Blkd__Evicted evicted = FAKE_MESSAGE(Blkd__Evicted, blkd__evicted__init);

    event.what_case = BLKD__EVENT__WHAT_LOCK_GRANTED;
    event.lock_granted = &granted;
    event.session = 78; /* not open here: nobody hears of it */
    fake_send_event(daemon, &event);
    event.session = 77;
    granted.mode = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    granted.token = 44;
    granted.offset_bytes = 3 * FAKE_SECTOR;
    granted.length_bytes = 4 * FAKE_SECTOR;
    fake_send_event(daemon, &event);
    event.what_case = BLKD__EVENT__WHAT_LOCK_LOST;
    event.lock_lost = &lost;
    lost.reason = BLKD__LOCK_LOST__REASON__REASON_BROKEN;
    lost.locks = 2;
    fake_send_event(daemon, &event);
    event.what_case = BLKD__EVENT__WHAT_EVICTED;
    event.evicted = &evicted;
    fake_send_event(daemon, &event);
}

static bool events_before_answer(struct fake *daemon, const Blkd__Request *request,
                                 const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_WATCH)
        send_happenings(daemon);
    if (request->op_case == BLKD__REQUEST__OP_PING)
        send_lock_events(daemon);
    return false;
}

static void begin_events(void)
{
    seen_count = 0;
    fake.on_request = events_before_answer;
    begin();
    ck_assert_int_eq(blkd_set_event_callback(connection, on_event, &seen_count), 0);
}

START_TEST(lock_events_are_delivered)
{
    begin_events();
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 3);
    ck_assert_int_eq((int)seen[0].type, BLKD_EVENT_LOCK_GRANTED);
    ck_assert_ptr_eq(seen[0].device, device);
    ck_assert_int_eq((int)seen[0].lock_mode, BLKD_LOCK_EXCLUSIVE);
    ck_assert_uint_eq(seen[0].token, 44);
    ck_assert_uint_eq(seen[0].first_sector, 3);
    ck_assert_uint_eq(seen[0].count_sectors, 4);
    ck_assert_int_eq((int)seen[1].type, BLKD_EVENT_LOCK_LOST);
    ck_assert_int_eq((int)seen[1].lost_reason, BLKD_LOST_BROKEN);
    ck_assert_uint_eq(seen[1].lost_locks, 2);
    ck_assert_int_eq((int)seen[2].type, BLKD_EVENT_EVICTED);
    ck_assert_ptr_eq(seen[2].device, device);
    ck_assert_ptr_null(seen[2].happening);
    end();
}
END_TEST

START_TEST(happenings_come_one_by_one)
{
    const struct blkd_happening *happening = &seen_happening[1];

    happenings_to_send = 3;
    begin_events();
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 3);
    for (unsigned int i = 0; i < 3; i++) {
        ck_assert_int_eq((int)seen[i].type, BLKD_EVENT_HAPPENING);
        ck_assert_uint_eq(seen[i].sequence, i + 1);
        ck_assert_ptr_null(seen[i].device);
    }
    ck_assert_int_eq((int)happening->what, BLKD_HAPPENING_LOCK_GRANTED);
    ck_assert_uint_eq(happening->device_number, 1);
    ck_assert_uint_eq(happening->session_number, 2);
    ck_assert_uint_eq(happening->unix_ms, 3);
    ck_assert_uint_eq(happening->pid, 4);
    ck_assert_uint_eq(happening->uid, 5);
    ck_assert_int_eq((int)happening->mode, BLKD_LOCK_SHARED);
    ck_assert_uint_eq(happening->offset_bytes, 6);
    ck_assert_uint_eq(happening->length_bytes, 7);
    ck_assert_uint_eq(happening->token, 8);
    ck_assert_uint_eq(happening->size_bytes, 9);
    ck_assert_uint_eq(happening->generation, 10);
    ck_assert_int_eq(happening->error, -EIO);
    ck_assert_uint_eq(happening->left_out, 100);
    ck_assert_str_eq(seen_path, "/srv/b.img");
    ck_assert_str_eq(seen_command, "qemu");
    ck_assert_str_eq(seen_purpose, "a vm");
    end();
}
END_TEST

/* 4096 wait; what comes on top is counted and told with the next one that is queued. */
START_TEST(happenings_that_nobody_fetches_are_bounded_and_counted)
{
    happenings_to_send = 4096 + 10;
    begin_events();
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 4096);
    happenings_to_send = 1;
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_uint_eq(seen_happening[4095].left_out, 0);
    ck_assert_uint_eq(seen_happening[4096].left_out, 10);
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_uint_eq(seen_happening[4097].left_out, 0);
    end();
}
END_TEST

/* ---- of devices, and of the daemon ---- */

static bool device_events_before_answer(struct fake *daemon, const Blkd__Request *request,
                                        const uint8_t *payload)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__Resized resized = FAKE_MESSAGE(Blkd__Resized, blkd__resized__init);
    Blkd__SyncFailed failed = FAKE_MESSAGE(Blkd__SyncFailed, blkd__sync_failed__init);
    Blkd__ShuttingDown shutting_down = FAKE_MESSAGE(Blkd__ShuttingDown, blkd__shutting_down__init);

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_PING)
        return false;
    for (uint64_t i = 1; i <= 3; i++) {
        event.sequence = i;
        event.session = 77;
        event.what_case = BLKD__EVENT__WHAT_RESIZED;
        event.resized = &resized;
        resized.size_sectors = 100 + i;
        fake_send_event(daemon, &event);
    }
    event.session = 78; /* of a session that is not open: nobody hears of it */
    fake_send_event(daemon, &event);
    event.session = 77;
    event.what_case = BLKD__EVENT__WHAT_SYNC_FAILED;
    event.sync_failed = &failed;
    failed.status = BLKD__STATUS__STATUS_EIO;
    fake_send_event(daemon, &event);
    event.session = 0;
    event.what_case = BLKD__EVENT__WHAT_SHUTTING_DOWN;
    event.shutting_down = &shutting_down;
    fake_send_event(daemon, &event);
    return false;
}

START_TEST(events_are_delivered_and_coalesced)
{
    fake.on_request = device_events_before_answer;
    begin();
    ck_assert_int_eq(blkd_set_event_callback(connection, on_event, &seen_count), 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_uint_eq(seen_count, 0);
    ck_assert(fake_is_readable(connection, 0));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 3);
    ck_assert_uint_eq(seen_count, 3);
    ck_assert_int_eq((int)seen[0].type, BLKD_EVENT_RESIZED);
    ck_assert_ptr_eq(seen[0].device, device);
    ck_assert_uint_eq(seen[0].size_sectors, 103);
    ck_assert_uint_eq(seen[0].sequence, 3);
    ck_assert_int_eq((int)seen[1].type, BLKD_EVENT_SYNC_FAILED);
    ck_assert_int_eq(seen[1].error, -EIO);
    ck_assert_int_eq((int)seen[2].type, BLKD_EVENT_SHUTTING_DOWN);
    ck_assert_ptr_null(seen[2].device);
    ck_assert(!fake_is_readable(connection, 0));
    end();
}
END_TEST

static bool hang_up_on_flush(struct fake *daemon, const Blkd__Request *request,
                             const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_FLUSH)
        fake_hang_up(daemon);
    return request->op_case == BLKD__REQUEST__OP_FLUSH;
}

static void on_done(void *user_data, int result)
{
    *(int *)user_data = result;
}

START_TEST(loss_is_an_event)
{
    int done = 0;

    fake.on_request = hang_up_on_flush;
    begin();
    ck_assert_int_eq(blkd_set_event_callback(connection, on_event, &seen_count), 0);
    ck_assert_int_eq(blkd_flush_async(device, on_done, &done), 0);
    ck_assert_int_eq(blkd_dispatch(connection, -1), 2);
    ck_assert_int_eq(done, -ENOTCONN);
    ck_assert_int_eq((int)seen[0].type, BLKD_EVENT_DISCONNECTED);
    ck_assert_int_eq(seen[0].error, -ENOTCONN);
    ck_assert(!fake_is_readable(connection, 0));
    ck_assert_int_eq(blkd_dispatch(connection, -1), -ENOTCONN);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_events");
    TCase *tests = tcase_create("events");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, lock_events_are_delivered);
    tcase_add_test(tests, happenings_come_one_by_one);
    tcase_add_test(tests, happenings_that_nobody_fetches_are_bounded_and_counted);
    tcase_add_test(tests, events_are_delivered_and_coalesced);
    tcase_add_test(tests, loss_is_an_event);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
