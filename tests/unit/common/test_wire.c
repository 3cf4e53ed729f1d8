/* SPDX-License-Identifier: MIT */
#include "tests/unit/common/wire_fixture.h"

enum { FILL = 0xa5 };

/* ---- what is packed comes back ---- */

START_TEST(request_comes_back_with_all_its_fields)
{
    const Blkd__Request *request;
    const size_t length = put_open_request(77);

    ck_assert_int_eq(unpack_request(length, &request), 0);
    ck_assert_uint_eq(request->id, 77);
    ck_assert_int_eq(request->op_case, BLKD__REQUEST__OP_OPEN);
    ck_assert(request->open->descriptor);
    ck_assert_uint_eq(request->open->config->path.len, strlen(PATH));
    ck_assert_mem_eq(request->open->config->path.data, PATH, strlen(PATH));
    ck_assert(request->open->config->direct);
    ck_assert(!request->open->config->lock);
    ck_assert_int_eq(request->open->config->sync, BLKD__SYNC__SYNC_DRIVE);
    ck_assert_uint_eq(request->open->config->sector_size, 4096);
}
END_TEST

START_TEST(largest_numbers_come_back)
{
    const Blkd__Request *request;
    const size_t length = put_read_request(UINT64_MAX);

    ck_assert_int_eq(unpack_request(length, &request), 0);
    ck_assert_uint_eq(request->id, UINT64_MAX);
    ck_assert_uint_eq(request->read->session, UINT64_MAX);
    ck_assert_uint_eq(request->read->offset_bytes, INT64_MAX);
    ck_assert_uint_eq(request->read->length_bytes, IO_BYTES_MAX);
    ck_assert_uint_eq(request->read->transfer_end_bytes, UINT64_MAX);
}
END_TEST

START_TEST(reply_comes_back_with_all_its_fields)
{
    const Blkd__Reply *reply;
    const size_t length = put_error_reply(3);

    ck_assert_int_eq(unpack_reply(length, &reply), 0);
    ck_assert_uint_eq(reply->id, 3);
    ck_assert_int_eq(reply->status, BLKD__STATUS__STATUS_EIO);
    ck_assert_str_eq(reply->message, "read of 4096 bytes at 0 from " PATH ": Input/output error");
    ck_assert_int_eq(reply->body_case, BLKD__REPLY__BODY__NOT_SET);
}
END_TEST

START_TEST(prefix_tells_both_lengths)
{
    Blkd__Ping ping = BLKD__PING__INIT;
    Blkd__Request request = BLKD__REQUEST__INIT;
    struct frame_prefix prefix;

    request.id = 1;
    request.op_case = BLKD__REQUEST__OP_PING;
    request.ping = &ping;
    wire_pack_request(&request, 4096, frame);
    ck_assert_int_eq(frame_decode(frame, &prefix), 0);
    ck_assert_uint_eq(prefix.header_bytes, wire_request_size(&request) - FRAME_PREFIX_BYTES);
    ck_assert_uint_eq(prefix.payload_bytes, 4096);
}
END_TEST

/* The example of proto/README.md. */
START_TEST(ping_is_these_bytes)
{
    static const uint8_t expected[] = {4, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x01, 0x1a, 0x00};
    Blkd__Ping ping = BLKD__PING__INIT;
    Blkd__Request request = BLKD__REQUEST__INIT;

    request.id = 1;
    request.op_case = BLKD__REQUEST__OP_PING;
    request.ping = &ping;
    ck_assert_uint_eq(wire_request_size(&request), sizeof(expected));
    wire_pack_request(&request, 0, frame);
    ck_assert_mem_eq(frame, expected, sizeof(expected));
}
END_TEST

START_TEST(nothing_is_written_behind_the_frame)
{
    uint8_t bytes[256];
    Blkd__Reply reply;

    memset(bytes, FILL, sizeof(bytes));
    blkd__reply__init(&reply);
    reply.id = 300;
    wire_pack_reply(&reply, 0, bytes);
    for (size_t i = wire_reply_size(&reply); i < sizeof(bytes); i++)
        ck_assert_uint_eq(bytes[i], FILL);
}
END_TEST

/* ---- memory ---- */

START_TEST(grown_arena_is_kept)
{
    const Blkd__Request *request;
    const size_t large = put_open_request(1);

    ck_assert_int_eq(unpack_request(large, &request), 0);
    const uint8_t *memory = arena.memory;
    for (uint64_t id = 1; id < 1000; id++) {
        const size_t small = put_read_request(id);
        ck_assert_int_eq(unpack_request(small, &request), 0);
        ck_assert_uint_eq(request->id, id);
        ck_assert_ptr_eq(arena.memory, memory);
    }
}
END_TEST

START_TEST(deinit_leaves_an_arena_that_can_be_used_again)
{
    const Blkd__Request *request;
    const size_t length = put_read_request(5);

    ck_assert_int_eq(unpack_request(length, &request), 0);
    wire_arena_deinit(&arena);
    ck_assert_ptr_null(arena.memory);
    ck_assert_uint_eq(arena.size_bytes, 0);
    ck_assert_int_eq(unpack_request(length, &request), 0);
    ck_assert_uint_eq(request->id, 5);
}
END_TEST

static Blkd__SessionEntry session_entry(uint64_t number, Blkd__Counters *counters)
{
    static uint8_t path[] = PATH;
    static char command[] = "prog", name[] = "name";
    Blkd__SessionEntry entry;

    blkd__session_entry__init(&entry);
    entry.session = number;
    entry.connection = entry.device = entry.pid = entry.uid = entry.gid = 1;
    entry.path = (ProtobufCBinaryData){strlen(PATH), path};
    entry.command = command;
    entry.client_name = name;
    entry.read_write = entry.direct = true;
    entry.sync = BLKD__SYNC__SYNC_DRIVE;
    entry.lock = BLKD__LOCK_MODE__LOCK_MODE_SHARED;
    entry.sector_size = 512;
    entry.opened_unix_ms = 1;
    entry.in_flight = 1;
    entry.counters = counters;
    return entry;
}

/* Each entry has more than 16 fields, so protobuf-c wants a KiB of scratch memory for each. */
START_TEST(list_that_fills_a_frame_is_unpacked)
{
    enum { ENTRIES = 700 };
    static Blkd__SessionEntry entries[ENTRIES];
    static Blkd__SessionEntry *pointers[ENTRIES];
    Blkd__Counters counters = BLKD__COUNTERS__INIT;
    Blkd__SessionList list = BLKD__SESSION_LIST__INIT;
    Blkd__Reply packed;
    const Blkd__Reply *reply;

    for (size_t i = 0; i < ENTRIES; i++) {
        entries[i] = session_entry(i, &counters);
        pointers[i] = &entries[i];
    }
    list.sessions = pointers;
    list.n_sessions = ENTRIES;
    blkd__reply__init(&packed);
    packed.id = 1;
    packed.body_case = BLKD__REPLY__BODY_SESSIONS;
    packed.sessions = &list;
    const size_t length = put_reply(&packed);

    ck_assert_uint_gt(length, FRAME_HEADER_MAX * 3 / 4);
    ck_assert_int_eq(unpack_reply(length, &reply), 0);
    ck_assert_uint_eq(reply->sessions->n_sessions, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        ck_assert_uint_eq(reply->sessions->sessions[i]->session, i);
        ck_assert_str_eq(reply->sessions->sessions[i]->client_name, "name");
        ck_assert_uint_eq(reply->sessions->sessions[i]->path.len, strlen(PATH));
    }
}
END_TEST

START_TEST(a_few_unknown_fields_are_ignored)
{
    const Blkd__Request *request;
    size_t length = put_read_request(9);

    for (int i = 0; i < 20; i++) {
        frame[FRAME_PREFIX_BYTES + length++] = 15 << 3;
        frame[FRAME_PREFIX_BYTES + length++] = 1;
    }
    ck_assert_int_eq(unpack_request(length, &request), 0);
    ck_assert_uint_eq(request->id, 9);
    ck_assert_int_eq(request->op_case, BLKD__REQUEST__OP_READ);
}
END_TEST

START_TEST(an_operation_of_a_later_version_is_no_operation)
{
    static const uint8_t bytes[] = {0x08, 0x01, 0xfa, 0x06, 0x02, 0x08, 0x01}; /* field 111 */
    const Blkd__Request *request = NULL;

    ck_assert_int_eq(wire_unpack_request(&arena, bytes, sizeof(bytes), &request), 0);
    ck_assert_uint_eq(request->id, 1);
    ck_assert_int_eq(request->op_case, BLKD__REQUEST__OP__NOT_SET);
}
END_TEST

/* Each repetition makes protobuf-c give the one before it back. */
START_TEST(repeated_operation_is_replaced_by_the_last)
{
    static const uint8_t read_of_session_1[] = {0x42, 0x02, 0x08, 0x01};
    static const uint8_t write_of_session_2[] = {0x4a, 0x02, 0x08, 0x02};
    uint8_t bytes[8 * 40];
    const Blkd__Request *request = NULL;

    for (size_t i = 0; i < sizeof(bytes); i += 8) {
        memcpy(bytes + i, read_of_session_1, 4);
        memcpy(bytes + i + 4, write_of_session_2, 4);
    }
    ck_assert_int_eq(wire_unpack_request(&arena, bytes, sizeof(bytes), &request), 0);
    ck_assert_int_eq(request->op_case, BLKD__REQUEST__OP_WRITE);
    ck_assert_uint_eq(request->write->session, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tests = tcase_create("wire");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, request_comes_back_with_all_its_fields);
    tcase_add_test(tests, largest_numbers_come_back);
    tcase_add_test(tests, reply_comes_back_with_all_its_fields);
    tcase_add_test(tests, prefix_tells_both_lengths);
    tcase_add_test(tests, ping_is_these_bytes);
    tcase_add_test(tests, nothing_is_written_behind_the_frame);
    tcase_add_test(tests, grown_arena_is_kept);
    tcase_add_test(tests, deinit_leaves_an_arena_that_can_be_used_again);
    tcase_add_test(tests, list_that_fills_a_frame_is_unpacked);
    tcase_add_test(tests, a_few_unknown_fields_are_ignored);
    tcase_add_test(tests, an_operation_of_a_later_version_is_no_operation);
    tcase_add_test(tests, repeated_operation_is_replaced_by_the_last);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
