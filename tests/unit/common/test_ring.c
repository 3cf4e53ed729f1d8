/* SPDX-License-Identifier: MIT */
/*
 * The two ends of a ring, one step at a time: what they do with what is possible, and what they
 * refuse. Most tests run from several places of the indices, so that they pass through 2^32.
 */
#include "common/ring.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

enum {
    COUNT = 8,
    FAR = 2 * COUNT, /* how far from the indices impossible ones are tried */
};

static const uint32_t starts[] = {
    0, 1, UINT32_MAX / 2, UINT32_MAX - COUNT - 3, UINT32_MAX - 3, UINT32_MAX};
enum { STARTS = sizeof starts / sizeof *starts };

/* ck_assert writes to a pipe each time, also when all is well. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

/* Always static: gcc does not align it on the stack where a sanitizer is in the build. */
struct pair {
    struct ring_words words;
    struct ring_completion places[COUNT];
    struct ring_producer producer;
    struct ring_consumer consumer;
};

/* A ring that `start` entries have gone through. */
static void pair_init(struct pair *pair, uint32_t start)
{
    memset(pair, 0, sizeof *pair);
    ring_producer_init(&pair->producer, &pair->words, pair->places, COUNT, sizeof *pair->places);
    ring_consumer_init(&pair->consumer, &pair->words, pair->places, COUNT, sizeof *pair->places);
    atomic_store(&pair->words.tail, start);
    atomic_store(&pair->words.head, start);
    pair->producer.tail = pair->producer.published = pair->producer.head = start;
    pair->consumer.head = pair->consumer.released = pair->consumer.tail = start;
}

static uint32_t room(struct pair *pair, uint32_t wanted)
{
    uint32_t n = UINT32_MAX;
    MUST(ring_producer_room(&pair->producer, wanted, &n) == 0);
    return n;
}

static uint32_t look(struct pair *pair)
{
    uint32_t n = UINT32_MAX;
    MUST(ring_consumer_look(&pair->consumer, &n) == 0);
    return n;
}

static void put(struct pair *pair, uint64_t id)
{
    struct ring_completion entry = {.id = id, .status = (uint32_t)id * 3, .message_bytes = 7};
    uint32_t place = ring_producer_place(&pair->producer);
    MUST(place < COUNT && ring_producer_put(&pair->producer, &entry) == place);
}

static uint32_t take(struct pair *pair, uint64_t id)
{
    struct ring_completion entry;
    uint32_t place = ring_consumer_take(&pair->consumer, &entry);
    MUST(entry.id == id && entry.status == (uint32_t)id * 3 && entry.message_bytes == 7);
    return place;
}

static void put_published(struct pair *pair, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put(pair, i);
    MUST(ring_producer_publish(&pair->producer) == (count > 0));
}

START_TEST(the_layout_is_as_written)
{
    struct ring_layout layout;
    ck_assert_int_eq(ring_layout(8, &layout), 0);
    ck_assert_uint_eq(layout.entries, 8);
    ck_assert_uint_eq(layout.submissions, 4096);
    ck_assert_uint_eq(layout.completions, 4608);
    ck_assert_uint_eq(layout.messages, 8192);
    ck_assert_uint_eq(layout.size_bytes, 16384);
    ck_assert_int_eq(ring_layout(1024, &layout), 0);
    ck_assert_uint_eq(layout.entries, 1024);
    ck_assert_uint_eq(layout.submissions, 4096);
    ck_assert_uint_eq(layout.completions, 69632);
    ck_assert_uint_eq(layout.messages, 86016); /* the completions end there: nothing is lost */
    ck_assert_uint_eq(layout.size_bytes, 1134592);
}
END_TEST

START_TEST(other_numbers_of_entries_are_refused)
{
    for (uint32_t entries = 0; entries < 5000; entries++) {
        struct ring_layout layout = {.entries = 77};
        bool good = false;
        for (uint32_t power = RING_ENTRIES_MIN; power <= RING_ENTRIES_MAX; power *= 2)
            good |= entries == power;
        ck_assert_int_eq(ring_layout(entries, &layout), good ? 0 : -EINVAL);
        ck_assert_uint_eq(layout.entries, good ? entries : 77);
    }
    struct ring_layout layout;
    ck_assert_int_eq(ring_layout(1U << 31, &layout), -EINVAL);
    ck_assert_int_eq(ring_layout(UINT32_MAX, &layout), -EINVAL);
}
END_TEST

START_TEST(what_is_not_published_is_not_seen)
{
    static struct pair pair;
    pair_init(&pair, starts[_i]);
    ck_assert(!ring_producer_publish(&pair.producer));
    put(&pair, 1);
    put(&pair, 2);
    ck_assert_uint_eq(look(&pair), 0);
    ck_assert(!ring_consumer_ready(&pair.consumer));
    ck_assert(ring_producer_publish(&pair.producer));
    ck_assert(!ring_producer_publish(&pair.producer));
    ck_assert(ring_consumer_ready(&pair.consumer));
    ck_assert_uint_eq(look(&pair), 2);
    take(&pair, 1);
    ck_assert(ring_consumer_ready(&pair.consumer));
    ck_assert_uint_eq(look(&pair), 1);
    take(&pair, 2);
    ck_assert(!ring_consumer_ready(&pair.consumer));
    ck_assert_uint_eq(look(&pair), 0);
}
END_TEST

START_TEST(what_is_not_released_is_no_room)
{
    static struct pair pair;
    pair_init(&pair, starts[_i]);
    ck_assert_uint_eq(room(&pair, 1), COUNT);
    put_published(&pair, COUNT);
    ck_assert_uint_eq(room(&pair, 0), 0);
    ck_assert_uint_eq(room(&pair, 1), 0);
    ck_assert_uint_eq(look(&pair), COUNT);
    take(&pair, 0);
    take(&pair, 1);
    take(&pair, 2);
    ck_assert_uint_eq(room(&pair, 1), 0);
    ring_consumer_release(&pair.consumer);
    ck_assert_uint_eq(room(&pair, 0), 0); /* it did not have to look */
    ck_assert_uint_eq(room(&pair, 1), 3);
    take(&pair, 3);
    ring_consumer_release(&pair.consumer);
    ck_assert_uint_eq(room(&pair, 3), 3); /* nor now */
    ck_assert_uint_eq(room(&pair, 4), 4);
    ck_assert_uint_eq(room(&pair, COUNT + 1), 4);
}
END_TEST

START_TEST(what_is_known_is_not_looked_for)
{
    static struct pair pair;
    pair_init(&pair, starts[_i]);
    put_published(&pair, 2);
    ck_assert_uint_eq(look(&pair), 2);
    atomic_store(&pair.words.tail, starts[_i] + 12345);
    atomic_store(&pair.words.head, starts[_i] + 12345);
    ck_assert_uint_eq(room(&pair, COUNT - 2), COUNT - 2);
    ck_assert_uint_eq(look(&pair), 2);
    ck_assert(!ring_consumer_sleep(&pair.consumer));
    ck_assert_uint_eq(pair.words.need_wakeup, 0);
    take(&pair, 0);
    ck_assert_uint_eq(look(&pair), 1);
    take(&pair, 1);
    ck_assert(!pair.consumer.broken);
    uint32_t n = 77;
    ck_assert_int_eq(ring_consumer_look(&pair.consumer, &n), -EPROTO);
    ck_assert_int_eq(ring_producer_room(&pair.producer, COUNT - 1, &n), -EPROTO);
    ck_assert_uint_eq(n, 77);
}
END_TEST

START_TEST(entries_keep_their_order_through_any_batches)
{
    static struct pair pair;
    pair_init(&pair, starts[_i]);
    srand((unsigned)_i);
    uint64_t in = 0;
    uint64_t out = 0;
    while (out < 20000) {
        uint32_t free_places = room(&pair, COUNT);
        ck_assert_uint_eq(free_places, COUNT - (in - out));
        for (uint32_t n = (uint32_t)rand() % (free_places + 1); n > 0; n--)
            put(&pair, in++);
        ring_producer_publish(&pair.producer);
        if (rand() % 2)
            continue;
        for (uint32_t n = look(&pair); n > 0; n--) {
            uint32_t place = take(&pair, out);
            ck_assert_uint_eq(place, (starts[_i] + out) % COUNT);
            out++;
        }
        ring_consumer_release(&pair.consumer);
        ck_assert_uint_eq((uint32_t)(starts[_i] + out), pair.words.head);
        ck_assert_uint_eq((uint32_t)(starts[_i] + in), pair.words.tail);
    }
}
END_TEST

/* A place's message belongs to the entry until it is released, however often the ring goes round.
 */
START_TEST(a_message_lies_at_its_completions_place)
{
    static struct pair pair;
    uint64_t messages[COUNT] = {0};
    pair_init(&pair, starts[_i]);
    for (uint64_t id = 0; id < 5 * COUNT; id += COUNT - 1) {
        ck_assert_uint_eq(room(&pair, COUNT), COUNT);
        for (uint64_t i = id; i < id + COUNT - 1; i++) {
            messages[ring_producer_place(&pair.producer)] = i;
            put(&pair, i);
        }
        ring_producer_publish(&pair.producer);
        ck_assert_uint_eq(look(&pair), COUNT - 1);
        for (uint64_t i = id; i < id + COUNT - 1; i++)
            ck_assert_uint_eq(messages[take(&pair, i)], i);
        ring_consumer_release(&pair.consumer);
    }
}
END_TEST

/* After -EPROTO: repairing the word does not help. */
static void check_consumer_broken(struct pair *pair)
{
    uint32_t n = 77;
    MUST(ring_consumer_look(&pair->consumer, &n) == -EPROTO);
    atomic_store(&pair->words.tail, pair->consumer.tail);
    MUST(ring_consumer_look(&pair->consumer, &n) == -EPROTO);
    MUST(ring_consumer_ready(&pair->consumer)); /* who spins finds out */
    MUST(!ring_consumer_sleep(&pair->consumer));
    MUST(pair->words.need_wakeup == 0);
    MUST(n == 77);
}

static void check_producer_broken(struct pair *pair)
{
    uint32_t n = 77;
    MUST(ring_producer_room(&pair->producer, COUNT + 1, &n) == -EPROTO);
    atomic_store(&pair->words.head, pair->producer.head);
    MUST(ring_producer_room(&pair->producer, COUNT + 1, &n) == -EPROTO);
    MUST(ring_producer_room(&pair->producer, 0, &n) == -EPROTO);
    MUST(n == 77);
}

/* A consumer that has taken `taken` entries of which it has released `released`, and a tail that
 * is `away` from the last one that it knows of. */
static void try_tail(uint32_t start, uint32_t taken, uint32_t released, int64_t away)
{
    for (int by_sleep = 0; by_sleep < 2; by_sleep++) {
        static struct pair pair;
        pair_init(&pair, start);
        put_published(&pair, taken);
        look(&pair);
        for (uint32_t i = 0; i < taken; i++) {
            take(&pair, i);
            if (i + 1 == released)
                ring_consumer_release(&pair.consumer);
        }
        atomic_store(&pair.words.tail, (uint32_t)(start + taken + away));

        bool possible = away >= 0 && (int64_t)(taken - released) + away <= COUNT;
        if (by_sleep)
            MUST(ring_consumer_sleep(&pair.consumer) == (away == 0));
        if (possible)
            ck_assert_uint_eq(look(&pair), (uint32_t)away);
        else
            check_consumer_broken(&pair);
    }
}

static void try_head(uint32_t start, uint32_t published, uint32_t more, uint32_t head, int64_t away)
{
    static struct pair pair;
    pair_init(&pair, start);
    put_published(&pair, published);
    atomic_store(&pair.words.head, start + head);
    ck_assert_uint_eq(room(&pair, COUNT + 1), COUNT - published + head);
    for (uint32_t i = 0; i < more; i++)
        put(&pair, i);
    atomic_store(&pair.words.head, (uint32_t)(start + head + away));

    if (away >= 0 && head + away <= published)
        ck_assert_int_eq(room(&pair, COUNT + 1), COUNT - published - more + head + away);
    else
        check_producer_broken(&pair);
}

static const int64_t far_away[] = {
    INT32_MIN, INT32_MIN + 1, INT32_MIN + COUNT, INT32_MAX,     INT32_MAX - COUNT,
    -65536,    65536,         INT32_MIN / 2,     INT32_MAX / 2, -(1LL << 16) + COUNT};
enum { FAR_AWAY = sizeof far_away / sizeof *far_away };

START_TEST(an_impossible_tail_is_refused_for_good)
{
    for (uint32_t taken = 0; taken <= COUNT; taken++)
        for (uint32_t released = 0; released <= taken; released++) {
            for (int64_t away = -FAR; away <= FAR; away++)
                try_tail(starts[_i], taken, released, away);
            for (int i = 0; i < FAR_AWAY; i++)
                try_tail(starts[_i], taken, released, far_away[i]);
        }
}
END_TEST

START_TEST(an_impossible_head_is_refused_for_good)
{
    for (uint32_t published = 0; published <= COUNT; published++)
        for (uint32_t head = 0; head <= published; head++)
            for (uint32_t more = 0; published + more <= head + COUNT; more++) {
                for (int64_t away = -FAR; away <= FAR; away++)
                    try_head(starts[_i], published, more, head, away);
                for (int i = 0; i < FAR_AWAY; i++)
                    try_head(starts[_i], published, more, head, far_away[i]);
            }
}
END_TEST

START_TEST(a_sleeper_is_woken_once)
{
    static struct pair pair;
    pair_init(&pair, starts[_i]);
    put_published(&pair, 1);
    ck_assert(!ring_producer_must_wake(&pair.producer)); /* nobody sleeps */
    look(&pair);
    take(&pair, 0);
    ck_assert(ring_consumer_sleep(&pair.consumer));
    ck_assert(
        ring_consumer_sleep(&pair.consumer)); /* woken by something else, it may say so again */
    put_published(&pair, 1);
    ck_assert(ring_producer_must_wake(&pair.producer));
    ck_assert(!ring_producer_must_wake(&pair.producer));
    put_published(&pair, 1);
    ck_assert(!ring_producer_must_wake(&pair.producer)); /* it is being woken */
    ring_consumer_wake(&pair.consumer);
    ck_assert_uint_eq(look(&pair), 2);
}
END_TEST

START_TEST(who_finds_entries_does_not_sleep)
{
    static struct pair pair;
    pair_init(&pair, starts[_i]);
    put_published(&pair, 1);
    ck_assert(!ring_consumer_sleep(&pair.consumer));
    ck_assert(!ring_producer_must_wake(&pair.producer));
    ck_assert_uint_eq(look(&pair), 1);
    take(&pair, 0);
    ck_assert(ring_consumer_sleep(&pair.consumer));
    ring_consumer_wake(&pair.consumer);
    put_published(&pair, 1);
    ck_assert(!ring_producer_must_wake(&pair.producer)); /* it was awake already */
}
END_TEST

START_TEST(need_wakeup_of_any_value_wakes_once)
{
    static struct pair pair;
    pair_init(&pair, 0);
    atomic_store(&pair.words.need_wakeup, UINT32_MAX - 1);
    ck_assert(ring_producer_must_wake(&pair.producer));
    ck_assert(!ring_producer_must_wake(&pair.producer));
}
END_TEST

START_TEST(a_shared_cpu_is_known)
{
    static struct pair pair;
    pair_init(&pair, 0);
    ck_assert(!ring_producer_shares_cpu(&pair.producer, 0));
    ck_assert(!ring_producer_shares_cpu(&pair.producer, -1));
    ring_consumer_set_cpu(&pair.consumer, 0);
    ck_assert(ring_producer_shares_cpu(&pair.producer, 0));
    ring_consumer_set_cpu(&pair.consumer, 3);
    ck_assert(!ring_producer_shares_cpu(&pair.producer, 0));
    ck_assert(ring_producer_shares_cpu(&pair.producer, 3));
    ring_consumer_set_cpu(&pair.consumer, -5);
    ck_assert_uint_eq(pair.words.consumer_cpu, 0);
    ring_consumer_set_cpu(&pair.consumer, -1);
    ck_assert(!ring_producer_shares_cpu(&pair.producer, -1));
    ck_assert_uint_eq(pair.words.consumer_cpu, 0);
    atomic_store(&pair.words.consumer_cpu, UINT32_MAX);
    ck_assert(!ring_producer_shares_cpu(&pair.producer, -2));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tcase = tcase_create("ends");
    tcase_add_test(tcase, the_layout_is_as_written);
    tcase_add_test(tcase, other_numbers_of_entries_are_refused);
    tcase_add_loop_test(tcase, what_is_not_published_is_not_seen, 0, STARTS);
    tcase_add_loop_test(tcase, what_is_not_released_is_no_room, 0, STARTS);
    tcase_add_loop_test(tcase, what_is_known_is_not_looked_for, 0, STARTS);
    tcase_add_loop_test(tcase, entries_keep_their_order_through_any_batches, 0, STARTS);
    tcase_add_loop_test(tcase, a_message_lies_at_its_completions_place, 0, STARTS);
    tcase_add_loop_test(tcase, an_impossible_tail_is_refused_for_good, 0, STARTS);
    tcase_add_loop_test(tcase, an_impossible_head_is_refused_for_good, 0, STARTS);
    tcase_add_loop_test(tcase, a_sleeper_is_woken_once, 0, STARTS);
    tcase_add_loop_test(tcase, who_finds_entries_does_not_sleep, 0, STARTS);
    tcase_add_test(tcase, need_wakeup_of_any_value_wakes_once);
    tcase_add_test(tcase, a_shared_cpu_is_known);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
