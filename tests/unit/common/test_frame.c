/* SPDX-License-Identifier: MIT */
#include "common/frame.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

START_TEST(prefix_is_two_little_endian_words)
{
    static const uint8_t expected[FRAME_PREFIX_BYTES] = {0x02, 0x01, 0, 0, 0x06, 0x05, 0x04, 0};
    uint8_t bytes[FRAME_PREFIX_BYTES];

    frame_encode(bytes, (struct frame_prefix){0x0102, 0x040506});
    ck_assert_mem_eq(bytes, expected, sizeof(bytes));
}
END_TEST

static int decode(uint32_t header_bytes, uint32_t payload_bytes, struct frame_prefix *ret_prefix)
{
    uint8_t bytes[FRAME_PREFIX_BYTES];

    frame_encode(bytes, (struct frame_prefix){header_bytes, payload_bytes});
    return frame_decode(bytes, ret_prefix);
}

START_TEST(decoding_gives_back_what_was_encoded)
{
    static const struct frame_prefix prefixes[] = {
        {1, 0}, {12, 4096}, {255, 256}, {FRAME_HEADER_MAX, IO_BYTES_MAX}};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct frame_prefix prefix = {0, 0};
        ck_assert_int_eq(decode(prefixes[i].header_bytes, prefixes[i].payload_bytes, &prefix), 0);
        ck_assert_uint_eq(prefix.header_bytes, prefixes[i].header_bytes);
        ck_assert_uint_eq(prefix.payload_bytes, prefixes[i].payload_bytes);
    }
}
END_TEST

START_TEST(lengths_out_of_bounds_are_refused)
{
    static const struct frame_prefix prefixes[] = {
        {0, 0},
        {0, 512},
        {FRAME_HEADER_MAX + 1, 0},
        {UINT32_MAX, 0},
        {1, IO_BYTES_MAX + 1},
        {1, UINT32_MAX},
        {0x01000000, 0}, /* a 1 written big-endian */
    };

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct frame_prefix prefix = {7, 7};
        ck_assert_int_eq(decode(prefixes[i].header_bytes, prefixes[i].payload_bytes, &prefix),
                         -EMSGSIZE);
        ck_assert_uint_eq(prefix.header_bytes, 7);
        ck_assert_uint_eq(prefix.payload_bytes, 7);
    }
}
END_TEST

START_TEST(any_alignment_will_do)
{
    uint8_t bytes[FRAME_PREFIX_BYTES + 8];

    for (size_t shift = 0; shift < 8; shift++) {
        struct frame_prefix prefix;
        frame_encode(bytes + shift, (struct frame_prefix){77, 4096});
        ck_assert_int_eq(frame_decode(bytes + shift, &prefix), 0);
        ck_assert_uint_eq(prefix.header_bytes, 77);
        ck_assert_uint_eq(prefix.payload_bytes, 4096);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frame");
    TCase *tests = tcase_create("frame");

    tcase_add_test(tests, prefix_is_two_little_endian_words);
    tcase_add_test(tests, decoding_gives_back_what_was_encoded);
    tcase_add_test(tests, lengths_out_of_bounds_are_refused);
    tcase_add_test(tests, any_alignment_will_do);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
