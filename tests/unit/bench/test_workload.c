/* SPDX-License-Identifier: MIT */
/* Benchmarks touch the blocks that they say they touch, all of them, and no others; and --verify
 * sees a sector that is not where it belongs. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/bench/workload.h"
#include "tests/unit/suite.h"

enum { BLOCK = 4096, BLOCKS = 64, SIZE = BLOCK * BLOCKS + 100 };

START_TEST(names_are_parsed_back)
{
    enum workload_type type = WORKLOAD_READ;
    for (unsigned int i = 0; workload_name((enum workload_type)i); i++) {
        ck_assert_int_eq(workload_type_parse(workload_name((enum workload_type)i), &type), 0);
        ck_assert_uint_eq(type, i);
    }
    ck_assert_int_eq(workload_type_parse("readrand", &type), -EINVAL);
}
END_TEST

START_TEST(random_offsets_reach_every_whole_block_and_nothing_else)
{
    struct workload workload;
    unsigned int hits[BLOCKS] = {0};
    ck_assert_int_eq(workload_init(&workload, WORKLOAD_RANDREAD, SIZE, BLOCK, 0, 1, 1), 0);
    for (int i = 0; i < BLOCKS * 1000; i++) {
        uint64_t offset = workload_next_offset(&workload);
        ck_assert_uint_eq(offset % BLOCK, 0);
        ck_assert_uint_lt(offset / BLOCK, BLOCKS);
        hits[offset / BLOCK]++;
    }
    for (int i = 0; i < BLOCKS; i++) /* 1000 expected; five standard deviations are 160 */
        ck_assert_msg(hits[i] > 800 && hits[i] < 1200, "block %d: %u", i, hits[i]);
}
END_TEST

START_TEST(a_seed_gives_the_same_offsets_and_clients_differ)
{
    struct workload first;
    struct workload again;
    struct workload other;
    ck_assert_int_eq(workload_init(&first, WORKLOAD_RANDWRITE, SIZE, BLOCK, 0, 2, 7), 0);
    ck_assert_int_eq(workload_init(&again, WORKLOAD_RANDWRITE, SIZE, BLOCK, 0, 2, 7), 0);
    ck_assert_int_eq(workload_init(&other, WORKLOAD_RANDWRITE, SIZE, BLOCK, 1, 2, 7), 0);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t offset = workload_next_offset(&first);
        ck_assert_uint_eq(workload_next_offset(&again), offset);
        equal += workload_next_offset(&other) == offset;
    }
    ck_assert_int_lt(equal, 100);
}
END_TEST

START_TEST(sequential_clients_go_around_their_own_shares)
{
    for (unsigned int index = 0; index < 3; index++) {
        struct workload workload;
        ck_assert_int_eq(workload_init(&workload, WORKLOAD_WRITE, SIZE, BLOCK, index, 3, 1), 0);
        for (unsigned int i = 0; i < 2 * (BLOCKS / 3); i++)
            ck_assert_uint_eq(workload_next_offset(&workload),
                              (uint64_t)(index * (BLOCKS / 3) + i % (BLOCKS / 3)) * BLOCK);
    }
}
END_TEST

START_TEST(too_small_a_device_is_refused)
{
    struct workload workload;
    ck_assert_int_eq(workload_init(&workload, WORKLOAD_READ, BLOCK - 1, BLOCK, 0, 1, 1), -EINVAL);
    ck_assert_int_eq(workload_init(&workload, WORKLOAD_READ, SIZE, BLOCK, 0, BLOCKS + 1, 1),
                     -EINVAL);
}
END_TEST

START_TEST(the_pattern_knows_a_strayed_sector_and_a_damaged_byte)
{
    char buffer[BLOCK];
    uint64_t wrong_at = 1;
    pattern_fill(buffer, sizeof(buffer), 5 * BLOCK);
    ck_assert(pattern_check(buffer, sizeof(buffer), 5 * BLOCK, &wrong_at));
    ck_assert_uint_eq(wrong_at, 1);
    ck_assert(!pattern_check(buffer, sizeof(buffer), 6 * BLOCK, &wrong_at));
    ck_assert_uint_eq(wrong_at, 6 * BLOCK);
    buffer[1000] = (char)(buffer[1000] + 1);
    ck_assert(!pattern_check(buffer, sizeof(buffer), 5 * BLOCK, &wrong_at));
    ck_assert_uint_eq(wrong_at, 5 * BLOCK + 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("workload");
    TCase *all = tcase_create("workload");
    tcase_add_test(all, names_are_parsed_back);
    tcase_add_test(all, random_offsets_reach_every_whole_block_and_nothing_else);
    tcase_add_test(all, a_seed_gives_the_same_offsets_and_clients_differ);
    tcase_add_test(all, sequential_clients_go_around_their_own_shares);
    tcase_add_test(all, too_small_a_device_is_refused);
    tcase_add_test(all, the_pattern_knows_a_strayed_sector_and_a_damaged_byte);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
