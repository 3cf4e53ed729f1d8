/* SPDX-License-Identifier: MIT */
#include "common/ring.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

START_TEST(an_entry_goes_through)
{
    struct ring_words words = {0};
    alignas(8) struct ring_completion place[8];
    struct ring_producer producer;
    struct ring_consumer consumer;
    ring_producer_init(&producer, &words, place, 8, sizeof *place);
    ring_consumer_init(&consumer, &words, place, 8, sizeof *place);

    uint32_t n = 77;
    ck_assert_int_eq(ring_consumer_look(&consumer, &n), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert(ring_consumer_sleep(&consumer));
    ck_assert_int_eq(ring_producer_room(&producer, 1, &n), 0);
    ck_assert_uint_eq(n, 8);
    struct ring_completion in = {.id = 5, .status = 6, .message_bytes = 7}, out;
    ck_assert_uint_eq(ring_producer_put(&producer, &in), 0);
    ck_assert(ring_producer_publish(&producer));
    ck_assert(ring_producer_must_wake(&producer));
    ck_assert(!ring_producer_must_wake(&producer));
    ck_assert_int_eq(ring_consumer_look(&consumer, &n), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(ring_consumer_take(&consumer, &out), 0);
    ck_assert_uint_eq(out.id, 5);
    ck_assert_uint_eq(out.status, 6);
    ck_assert_uint_eq(out.message_bytes, 7);
    ring_consumer_release(&consumer);
    ck_assert_uint_eq(words.head, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tcase = tcase_create("basics");
    tcase_add_test(tcase, an_entry_goes_through);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
