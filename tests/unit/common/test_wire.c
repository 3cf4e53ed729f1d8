/* SPDX-License-Identifier: MIT */
#include "common/wire.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/frame.h"
#include "common/limits.h"
#include "tests/fuzz/guarded.h"

#define PATH "/var/lib/images/disk.img"

enum { FILL = 0xa5 };

static struct wire_arena arena;
static struct guarded guarded;
static uint8_t frame[FRAME_PREFIX_BYTES + FRAME_HEADER_MAX];

static void setup(void)
{
    arena = (struct wire_arena){.memory = NULL};
    guarded = guarded_new(FRAME_HEADER_MAX);
}

static void teardown(void)
{
    wire_arena_deinit(&arena);
}

/* Unpacks what stands in `frame` behind its prefix. */
static int unpack_request(size_t header_bytes, const Blkd__Request **ret_request)
{
    const uint8_t *bytes = guarded_copy(&guarded, frame + FRAME_PREFIX_BYTES, header_bytes);

    return wire_unpack_request(&arena, bytes, header_bytes, ret_request);
}

static int unpack_reply(size_t header_bytes, const Blkd__Reply **ret_reply)
{
    const uint8_t *bytes = guarded_copy(&guarded, frame + FRAME_PREFIX_BYTES, header_bytes);

    return wire_unpack_reply(&arena, bytes, header_bytes, ret_reply);
}

static int unpack_bytes(const void *bytes, size_t length)
{
    const Blkd__Request *request = NULL;
    int r = wire_unpack_request(&arena, guarded_copy(&guarded, bytes, length), length, &request);

    ck_assert_msg((r == 0) == (request != NULL), "a result is given with success and only then");
    return r;
}

static size_t put_request(const Blkd__Request *request)
{
    const size_t size = wire_request_size(request);

    ck_assert_uint_le(size, sizeof(frame));
    wire_pack_request(request, 0, frame);
    return size - FRAME_PREFIX_BYTES;
}

static size_t put_reply(const Blkd__Reply *reply)
{
    const size_t size = wire_reply_size(reply);

    ck_assert_uint_le(size, sizeof(frame));
    wire_pack_reply(reply, 0, frame);
    return size - FRAME_PREFIX_BYTES;
}

static size_t put_open_request(uint64_t id)
{
    static uint8_t path[] = PATH;
    Blkd__Config config = BLKD__CONFIG__INIT;
    Blkd__Open open = BLKD__OPEN__INIT;
    Blkd__Request request = BLKD__REQUEST__INIT;

    config.path = (ProtobufCBinaryData){strlen(PATH), path};
    config.direct = true;
    config.sync = BLKD__SYNC__SYNC_DRIVE;
    config.sector_size = 4096;
    open.config = &config;
    open.descriptor = true;
    request.id = id;
    request.op_case = BLKD__REQUEST__OP_OPEN;
    request.open = &open;
    return put_request(&request);
}

static size_t put_read_request(uint64_t id)
{
    Blkd__Read read = BLKD__READ__INIT;
    Blkd__Request request = BLKD__REQUEST__INIT;

    read.session = UINT64_MAX;
    read.offset_bytes = INT64_MAX;
    read.length_bytes = IO_BYTES_MAX;
    read.transfer_end_bytes = UINT64_MAX;
    request.id = id;
    request.op_case = BLKD__REQUEST__OP_READ;
    request.read = &read;
    return put_request(&request);
}

static size_t put_error_reply(uint64_t id)
{
    char message[] = "read of 4096 bytes at 0 from " PATH ": Input/output error";
    Blkd__Reply reply;

    blkd__reply__init(&reply);
    reply.id = id;
    reply.status = BLKD__STATUS__STATUS_EIO;
    reply.message = message;
    return put_reply(&reply);
}

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

/* Whether unpacking kept to the part of the arena that it says it used. */
static bool arena_is_clean(void)
{
    for (size_t i = arena.used_bytes; i < arena.size_bytes; i++) {
        if (arena.memory[i] != FILL)
            return false;
    }
    return arena.used_bytes <= arena.limit_bytes && arena.limit_bytes <= arena.size_bytes;
}

/* Two bytes on the wire, some hundred in memory. */
static void fill_with_bomb(uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i + 2 <= length; i += 2) {
        bytes[i] = 15 << 3; /* a field that is not known, a varint */
        bytes[i + 1] = 1;
    }
}

START_TEST(decode_bomb_is_e2big)
{
    static uint8_t bytes[FRAME_HEADER_MAX];

    fill_with_bomb(bytes, sizeof(bytes));
    ck_assert_int_eq(unpack_bytes(bytes, sizeof(bytes)), -E2BIG);
    ck_assert_uint_le(arena.size_bytes, DECODE_FACTOR * sizeof(bytes) + 2 * DECODE_EXTRA);
}
END_TEST

START_TEST(decode_bombs_of_all_sizes_stay_within_the_limit)
{
    uint8_t bytes[1024];

    fill_with_bomb(bytes, sizeof(bytes));
    ck_assert_int_eq(unpack_bytes(bytes, sizeof(bytes)), -E2BIG);
    for (size_t length = 2; length <= sizeof(bytes); length += 2) {
        memset(arena.memory, FILL, arena.size_bytes);
        const int r = unpack_bytes(bytes, length);
        ck_assert_msg(r == 0 || r == -E2BIG, "%zu bytes: %d", length, r);
        ck_assert_msg(arena_is_clean(), "%zu bytes", length);
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

/* ---- bytes that are no message ---- */

static const struct {
    const char *what;
    uint8_t bytes[16];
    size_t length;
} garbage[] = {
    {"field number 0", {0x00, 0x01}, 2},
    {"a field without its value", {0x08}, 1},
    {"a varint that does not end", {0x08, 0xff, 0xff}, 3},
    {"a varint of eleven bytes", {8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, 12},
    {"a tag of six bytes", {0xf8, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00}, 7},
    {"a group", {0x0b, 0x0c}, 2},
    {"wire type 6", {0x0e, 0x00}, 2},
    {"wire type 7", {0x0f, 0x00}, 2},
    {"a length of 2 GiB", {0x12, 0xff, 0xff, 0xff, 0xff, 0x07}, 6},
    {"a length of 4 GiB - 1", {0x12, 0xff, 0xff, 0xff, 0xff, 0x0f}, 6},
    {"a length of 32 GiB", {0x12, 0xff, 0xff, 0xff, 0xff, 0x7f}, 6},
    {"a length that does not end", {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 7},
    {"a length one too large", {0x42, 0x03, 0x08, 0x01}, 4},
    {"an inner length one too large", {0x22, 0x04, 0x0a, 0x03, 0x0a, 0x01}, 6},
    {"a message where a number belongs", {0x0a, 0x00}, 2},
    {"a number where a message belongs", {0x40, 0x01}, 2},
    {"64 bits where a number belongs", {0x09, 1, 2, 3, 4, 5, 6, 7, 8}, 9},
    {"64 bits cut short", {0x79, 1, 2, 3}, 4},
    {"32 bits cut short", {0x7d, 1, 2}, 3},
    {"an operation, then the same broken", {0x42, 0x00, 0x42, 0x02, 0x08, 0xff}, 6},
    {"an operation, then another broken", {0x42, 0x00, 0x4a, 0x02, 0x08, 0xff}, 6},
};

START_TEST(garbage_is_ebadmsg)
{
    ck_assert_msg(unpack_bytes(garbage[_i].bytes, garbage[_i].length) == -EBADMSG, "%s",
                  garbage[_i].what);
}
END_TEST

START_TEST(a_message_cut_anywhere_is_refused_or_shorter)
{
    const size_t length = put_open_request(77);

    for (size_t cut = 0; cut < length; cut++) {
        const int r = unpack_bytes(frame + FRAME_PREFIX_BYTES, cut);
        ck_assert_msg(r == 0 || r == -EBADMSG, "cut at %zu: %d", cut, r);
    }
}
END_TEST

START_TEST(arena_serves_the_next_message_after_a_refused_one)
{
    const Blkd__Request *request;

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        (void)unpack_bytes(garbage[i].bytes, garbage[i].length);
        const size_t length = put_read_request(i + 1);
        ck_assert_int_eq(unpack_request(length, &request), 0);
        ck_assert_uint_eq(request->id, i + 1);
    }
}
END_TEST

/* ---- mutations of messages that were good ---- */

enum { MUTATIONS = 100000 };

static uint64_t random_state = 1;

/* xorshift64*: the same sequence everywhere. */
static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545F4914F6CDD1DULL) >> 32) % bound;
}

static size_t mutate_once(uint8_t *bytes, size_t length, size_t size)
{
    static const uint8_t nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x22, 0x42, 0x4a};
    const uint32_t at = random_below((uint32_t)length);

    switch (random_below(5)) {
    case 0:
        bytes[at] ^= (uint8_t)(1U << random_below(8));
        return length;
    case 1:
        bytes[at] = nasty[random_below(sizeof(nasty))];
        return length;
    case 2: /* cut out a byte */
        memmove(bytes + at, bytes + at + 1, length - at - 1);
        return length > 1 ? length - 1 : length;
    case 3: /* put one in */
        if (length == size)
            return length;
        memmove(bytes + at + 1, bytes + at, length - at);
        bytes[at] = nasty[random_below(sizeof(nasty))];
        return length + 1;
    default: /* repeat the head behind the tail */
        if (at > size - length)
            return length;
        memcpy(bytes + length, bytes, at);
        return length + at;
    }
}

/* What was understood says the same after it was packed and unpacked again. */
static void check_repacked(const Blkd__Request *request)
{
    static uint8_t again[FRAME_PREFIX_BYTES + FRAME_HEADER_MAX];
    struct wire_arena second = {.memory = NULL};
    const Blkd__Request *repeated;
    const size_t size = wire_request_size(request);

    if (size == FRAME_PREFIX_BYTES || size > sizeof(frame))
        return; /* all defaults: no header */
    wire_pack_request(request, 0, frame);
    int r = wire_unpack_request(&second, frame + FRAME_PREFIX_BYTES, size - FRAME_PREFIX_BYTES,
                                &repeated);
    if (r == 0) {
        ck_assert_uint_eq(wire_request_size(repeated), size);
        wire_pack_request(repeated, 0, again);
        ck_assert_mem_eq(again, frame, size);
    } else {
        /* protobuf-c takes field number 0 in two bytes for an unknown field, but not in one. */
        ck_assert(r == -E2BIG || r == -EBADMSG);
    }
    wire_arena_deinit(&second);
}

static void unpack_mutation(const uint8_t *bytes, size_t length, bool is_reply)
{
    const Blkd__Request *request = NULL;
    const Blkd__Reply *reply = NULL;
    int r;

    if (arena.memory)
        memset(arena.memory, FILL, arena.size_bytes);
    if (is_reply)
        r = wire_unpack_reply(&arena, bytes, length, &reply);
    else
        r = wire_unpack_request(&arena, bytes, length, &request);
    ck_assert_msg(r == 0 || r == -EBADMSG || r == -E2BIG, "%d", r);
    ck_assert((r == 0) == (request || reply));
    ck_assert(arena_is_clean());
    if (request)
        check_repacked(request);
}

START_TEST(mutations_are_understood_or_refused)
{
    uint8_t bytes[512];
    const Blkd__Reply *reply;

    /* Grow the arena first, so that its fill is seen from the first mutation on. */
    memset(bytes, 0, sizeof(bytes));
    ck_assert_int_eq(wire_unpack_reply(&arena, bytes, sizeof(bytes), &reply), -EBADMSG);
    const uint8_t *memory = arena.memory;
    for (int i = 0; i < MUTATIONS; i++) {
        const bool is_reply = i % 4 == 3;
        size_t length = is_reply     ? put_error_reply(7)
                        : i % 2 == 0 ? put_open_request(7)
                                     : put_read_request(7);
        memcpy(bytes, frame + FRAME_PREFIX_BYTES, length);
        for (uint32_t count = 1 + random_below(4); count > 0; count--)
            length = mutate_once(bytes, length, sizeof(bytes));
        unpack_mutation(guarded_copy(&guarded, bytes, length), length, is_reply);
    }
    ck_assert_ptr_eq(arena.memory, memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tests = tcase_create("wire");
    TCase *hostile = tcase_create("hostile");
    SRunner *runner;
    int failed;

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
    tcase_add_checked_fixture(hostile, setup, teardown);
    tcase_set_timeout(hostile, 120);
    tcase_add_test(hostile, decode_bomb_is_e2big);
    tcase_add_test(hostile, decode_bombs_of_all_sizes_stay_within_the_limit);
    tcase_add_loop_test(hostile, garbage_is_ebadmsg, 0, sizeof(garbage) / sizeof(garbage[0]));
    tcase_add_test(hostile, a_message_cut_anywhere_is_refused_or_shorter);
    tcase_add_test(hostile, arena_serves_the_next_message_after_a_refused_one);
    tcase_add_test(hostile, mutations_are_understood_or_refused);
    suite_add_tcase(suite, hostile);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
