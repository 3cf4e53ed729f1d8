/* SPDX-License-Identifier: MIT */
/* libblkd when the daemon goes away or talks nonsense: -ENOTCONN, at once and for ever, with a
 * reason. */
#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

static void begin_with(fake_handler *handler)
{
    fake.on_request = handler;
    begin();
}

static void on_never(void *user_data, int result)
{
    (void)user_data;
    (void)result;
    ck_abort_msg("a call that was refused called back");
}

/* Nothing works any more, every message says why, nothing hangs, and what is open can be closed. */
static void assert_lost(const char *reason)
{
    uint8_t bytes[512];
    struct iovec iov = {bytes, sizeof(bytes)};
    struct blkd_config config = {0};
    struct blkd_device *other;
    struct blkd_server_info info;

    for (int i = 0; i < 2; i++) {
        ck_assert_msg(strstr(blkd_error_message(), reason) != NULL, "\"%s\" does not say \"%s\"",
                      blkd_error_message(), reason);
        ck_assert_int_eq(blkd_ping(connection), -ENOTCONN);
        ck_assert_int_eq(blkd_read(device, 0, &iov, 1), -ENOTCONN);
        ck_assert_int_eq(blkd_read(device, 0, NULL, 0), -ENOTCONN);
        ck_assert_int_eq(blkd_flush_async(device, on_never, NULL), -ENOTCONN);
        config.path = FAKE_FILE;
        ck_assert_int_eq(blkd_open(connection, &config, &other), -ENOTCONN);
        ck_assert_int_eq(blkd_dispatch(connection, -1), -ENOTCONN);
    }
    ck_assert_int_eq(blkd_get_server_info(connection, &info), 0);
    blkd_close(device);
    blkd_disconnect(connection);
    fake_stop(&fake);
}

static bool hang_up(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_FLUSH)
        return false;
    fake_hang_up(daemon);
    return true;
}

START_TEST(daemon_ends)
{
    begin_with(hang_up);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    assert_lost("exited or closed the connection");
}
END_TEST

static bool answer_and_hang_up(struct fake *daemon, const Blkd__Request *request,
                               const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_PING)
        return false;
    fake_answer(daemon, request->id, 0, "");
    fake_hang_up(daemon);
    return true;
}

START_TEST(daemon_is_gone_before_the_call)
{
    uint8_t *bytes = calloc(1, 1 << 20);
    struct iovec iov = {bytes, 1 << 20};

    begin_with(answer_and_hang_up);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert(fake_is_readable(connection, -1));
    ck_assert_int_eq(blkd_write(device, 0, &iov, 1, 0), -ENOTCONN);
    assert_lost("exited or closed the connection");
    free(bytes);
}
END_TEST

static bool say_why(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_FLUSH)
        return false;
    fake_answer(daemon, 0, -ETIMEDOUT, "nothing was read for 30 s");
    fake_hang_up(daemon);
    return true;
}

START_TEST(daemon_says_why_it_closes)
{
    begin_with(say_why);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    assert_lost("nothing was read for 30 s");
}
END_TEST

static bool send_raw(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    const struct fake_reply *raw = daemon->user_data;

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_FLUSH)
        return false;
    fake_send_bytes(daemon, raw->bytes, raw->length);
    return true;
}

static void assert_raw_loses(const void *bytes, size_t length, const char *reason)
{
    struct fake_reply raw = {(uint8_t *)(uintptr_t)bytes, length};

    fake.user_data = &raw;
    begin_with(send_raw);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    assert_lost(reason);
}

START_TEST(frame_without_header)
{
    assert_raw_loses("\0\0\0\0\0\0\0\0", 8, "invalid size");
}
END_TEST

START_TEST(frame_with_huge_header)
{
    assert_raw_loses("\xff\xff\xff\x7f\0\0\0\0", 8, "invalid size");
}
END_TEST

START_TEST(frame_with_huge_payload)
{
    assert_raw_loses("\2\0\0\0\xff\xff\xff\xff", 8, "invalid size");
}
END_TEST

START_TEST(undecodable_reply)
{
    assert_raw_loses("\4\0\0\0\0\0\0\0\xff\xff\xff\xff", 12, "cannot be decoded");
}
END_TEST

START_TEST(answer_to_nothing)
{
    assert_raw_loses("\2\0\0\0\0\0\0\0\x08\x05", 10, "not in flight");
}
END_TEST

START_TEST(payload_without_a_request)
{
    assert_raw_loses("\2\0\0\0\1\0\0\0\x10\x01x", 11, "belongs to no request");
}
END_TEST

/* The whole answer of a 4 KiB read but for its end, of every length that is interesting. */
static bool cut_short(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    uint8_t bytes[64 + 4096] = {0};
    size_t size;

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_READ)
        return false;
    reply.id = request->id;
    size = wire_reply_size(&reply);
    wire_pack_reply(&reply, 4096, bytes);
    size += 4096;
    fake_send_bytes(daemon, bytes, size * *(const size_t *)daemon->user_data / 100);
    fake_hang_up(daemon);
    return true;
}

/* A fork takes ThreadSanitizer a second or more. */
#ifdef __SANITIZE_THREAD__
enum { CUTS = 20 };
#else
enum { CUTS = 100 };
#endif

START_TEST(connection_closed_in_the_middle)
{
    static uint8_t bytes[4096];
    struct iovec iov = {bytes, sizeof(bytes)};
    size_t percent = (size_t)_i * 100 / CUTS;

    fake.user_data = &percent;
    begin_with(cut_short);
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), -ENOTCONN);
    assert_lost("exited or closed the connection");
}
END_TEST

static bool wrong_length(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    uint8_t bytes[1024] = {0};

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_READ)
        return false;
    reply.id = request->id;
    fake_reply(daemon, &reply, bytes, sizeof(bytes));
    return true;
}

START_TEST(payload_of_the_wrong_length)
{
    uint8_t bytes[512];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin_with(wrong_length);
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), -ENOTCONN);
    assert_lost("1024 bytes of payload instead of 512");
}
END_TEST

static bool answer_twice(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_FLUSH)
        fake_answer(daemon, request->id, 0, "");
    return false;
}

START_TEST(second_answer_to_one_request)
{
    begin_with(answer_twice);
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(blkd_ping(connection), -ENOTCONN);
    assert_lost("not in flight");
}
END_TEST

static bool empty_body(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_GET_INFO)
        return false;
    fake_answer(daemon, request->id, 0, "");
    return true;
}

START_TEST(answer_without_what_was_asked_for)
{
    struct blkd_info info;

    begin_with(empty_body);
    ck_assert_int_eq(blkd_get_info(device, &info), -EPROTO);
    ck_assert_int_eq(blkd_ping(connection), 0);
    blkd_close(device);
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

/* Takes a frame off the socket and answers a write as soon as its header is there, the payload
 * being still on its way. False: the client has gone. */
static bool answer_early(struct fake *daemon)
{
    static uint8_t buffer[FRAME_HEADER_MAX];
    struct frame_prefix prefix;
    const Blkd__Request *request;
    struct iovec iov = {buffer, FRAME_PREFIX_BYTES};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t left;

    if (fdpass_receive(daemon->socket, &message, MSG_WAITALL, &daemon->fds) != FRAME_PREFIX_BYTES)
        return false;
    ck_assert_int_eq(frame_decode(buffer, &prefix), 0);
    ck_assert_int_eq(recv(daemon->socket, buffer, prefix.header_bytes, MSG_WAITALL),
                     (ssize_t)prefix.header_bytes);
    ck_assert_int_eq(wire_unpack_request(&daemon->arena, buffer, prefix.header_bytes, &request), 0);
    if (request->op_case == BLKD__REQUEST__OP_WRITE)
        fake_answer(daemon, request->id, -EROFS, "read-only");
    else
        fake_request(daemon, request, NULL, 0);
    for (left = prefix.payload_bytes; left > 0;) {
        ssize_t n = recv(daemon->socket, buffer, left < sizeof(buffer) ? left : sizeof(buffer), 0);
        ck_assert_int_gt(n, 0);
        left -= (size_t)n;
    }
    return true;
}

static void *accept_and_answer_early(void *argument)
{
    struct fake *daemon = argument;

    daemon->socket = accept(daemon->listener, NULL, NULL);
    while (answer_early(daemon))
        ;
    (void)close(daemon->socket);
    return NULL;
}

/* More than the socket's buffer takes, so that some of it is unsent when the answers come. */
START_TEST(answer_before_the_payload_is_sent)
{
    size_t length = (size_t)16 << 20;
    uint8_t *bytes = calloc(1, length);
    struct iovec iov = {bytes, length};

    fake_listen(&fake);
    ck_assert_int_eq(pthread_create(&fake.thread, NULL, accept_and_answer_early, &fake), 0);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(blkd_write(device, 0, &iov, 1, 0), -EROFS);
        memset(bytes, 0xff, length); /* is the caller's again: none of it may go out any more */
        ck_assert_int_eq(blkd_ping(connection), 0);
    }
    blkd_disconnect(connection);
    fake_stop(&fake);
    free(bytes);
}
END_TEST

static Suite *lost_suite(void)
{
    Suite *suite = suite_create("client_lost");
    TCase *tests = tcase_create("lost");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, daemon_ends);
    tcase_add_test(tests, daemon_is_gone_before_the_call);
    tcase_add_test(tests, daemon_says_why_it_closes);
    tcase_add_test(tests, frame_without_header);
    tcase_add_test(tests, frame_with_huge_header);
    tcase_add_test(tests, frame_with_huge_payload);
    tcase_add_test(tests, undecodable_reply);
    tcase_add_test(tests, answer_to_nothing);
    tcase_add_test(tests, payload_without_a_request);
    tcase_add_loop_test(tests, connection_closed_in_the_middle, 0, CUTS);
    tcase_add_test(tests, payload_of_the_wrong_length);
    tcase_add_test(tests, second_answer_to_one_request);
    tcase_add_test(tests, answer_without_what_was_asked_for);
    tcase_add_test(tests, answer_before_the_payload_is_sent);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return suite_run(lost_suite());
}
