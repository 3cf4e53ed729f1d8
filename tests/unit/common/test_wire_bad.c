/* SPDX-License-Identifier: MIT */
/* Bytes that are no message, or more than one may cost: refused, within bounds of memory. */
#include "tests/unit/common/wire_fixture.h"

enum { FILL = 0xa5 };

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

#ifdef __SANITIZE_THREAD__ /* there is one thread */
enum { MUTATIONS = 10000 };
#else
enum { MUTATIONS = 100000 };
#endif

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
    Suite *suite = suite_create("wire, bad bytes");
    TCase *tests = tcase_create("hostile");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, decode_bomb_is_e2big);
    tcase_add_test(tests, decode_bombs_of_all_sizes_stay_within_the_limit);
    tcase_add_loop_test(tests, garbage_is_ebadmsg, 0, sizeof(garbage) / sizeof(garbage[0]));
    tcase_add_test(tests, a_message_cut_anywhere_is_refused_or_shorter);
    tcase_add_test(tests, arena_serves_the_next_message_after_a_refused_one);
    tcase_add_test(tests, mutations_are_understood_or_refused);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
