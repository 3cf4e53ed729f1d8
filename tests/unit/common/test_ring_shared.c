/* SPDX-License-Identifier: MIT */
/*
 * Rings with somebody at the other end at the same moment: a client and a daemon as threads that
 * sleep and wake each other over a million entries, through one mapping (where ThreadSanitizer
 * follows what is ordered) and through one mapping each, as processes have; and words that somebody
 * writes anything into.
 */
#include "common/ring.h"

#include "common/cleanup.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "tests/unit/suite.h"

#ifdef __SANITIZE_THREAD__
enum { ROUND_TRIPS = 50000 }; /* each takes tens of times as long */
#else
enum { ROUND_TRIPS = 250000 };
#endif

enum {
    ENTRIES = 64,
    GUARDED_COUNT = 64,
    PAGE = 4096,
};

/* ck_assert writes to a pipe each time, also when all is well. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

struct side {
    struct ring_producer producer;
    struct ring_consumer consumer;
    uint64_t (*messages)[RING_MESSAGE_BYTES / sizeof(uint64_t)];
    int bell;       /* ours */
    int other_bell; /* the other side's */
    uint64_t sleeps, wakes;
    unsigned seed;
};

static uint64_t mixed(uint64_t id)
{
    return (id + 1) * 0x9e3779b97f4a7c15;
}

static void ring_bell(struct side *side)
{
    uint64_t one = 1;
    if (!ring_producer_must_wake(&side->producer))
        return;
    MUST(write(side->other_bell, &one, sizeof one) == sizeof one);
    side->wakes++;
}

/* Returns how many entries are there, once there are some. */
static uint32_t wait_for_entries(struct side *side)
{
    uint32_t ready;
    for (;;) {
        MUST(ring_consumer_look(&side->consumer, &ready) == 0);
        if (ready > 0)
            return ready;
        if (!ring_consumer_sleep(&side->consumer))
            continue;
        uint64_t rung;
        MUST(read(side->bell, &rung, sizeof rung) == sizeof rung);
        ring_consumer_wake(&side->consumer);
        side->sleeps++;
    }
}

static void put_submissions(struct side *side, uint64_t from, uint32_t count)
{
    uint32_t room;
    MUST(ring_producer_room(&side->producer, count, &room) == 0 && room >= count);
    for (uint64_t id = from; id < from + count; id++) {
        struct ring_submission entry = {
            .id = id, .offset_bytes = mixed(id), .operation = RING_READ, .reserved = ~mixed(id)};
        ring_producer_put(&side->producer, &entry);
    }
    if (ring_producer_publish(&side->producer))
        ring_bell(side);
}

static void take_completions(struct side *side, uint64_t from, uint32_t count)
{
    for (uint64_t id = from; id < from + count; id++) {
        struct ring_completion entry;
        uint32_t place = ring_consumer_take(&side->consumer, &entry);
        MUST(entry.id == id && entry.status == (uint32_t)mixed(id));
        MUST(*side->messages[place] == mixed(id));
    }
    ring_consumer_release(&side->consumer);
}

/* Now and then lets the rings run dry, so that both sides sleep. */
static void *client_run(void *argument)
{
    struct side *side = argument;
    uint64_t sent = 0;
    uint64_t taken = 0;
    while (taken < ROUND_TRIPS) {
        uint32_t batch = (uint32_t)rand_r(&side->seed) % (ENTRIES + 1);
        if (batch > ENTRIES - (sent - taken))
            batch = (uint32_t)(ENTRIES - (sent - taken));
        if (batch > ROUND_TRIPS - sent)
            batch = (uint32_t)(ROUND_TRIPS - sent);
        put_submissions(side, sent, batch);
        sent += batch;
        while (sent > taken && (sent - taken > ENTRIES / 2 || rand_r(&side->seed) % 4 != 0)) {
            uint32_t ready = wait_for_entries(side);
            take_completions(side, taken, ready);
            taken += ready;
        }
    }
    MUST(sent == taken);
    return NULL;
}

/* There is always room for a completion: the client keeps to the bound. And for the submissions
 * that it makes possible: theirs are released before it is seen. */
static void publish_completions(struct side *side)
{
    ring_consumer_release(&side->consumer);
    if (ring_producer_publish(&side->producer))
        ring_bell(side);
}

static void complete(struct side *side, uint64_t id)
{
    uint32_t room;
    MUST(ring_producer_room(&side->producer, 1, &room) == 0 && room > 0);
    struct ring_completion entry = {.id = id, .status = (uint32_t)mixed(id), .message_bytes = 8};
    *side->messages[ring_producer_place(&side->producer)] = mixed(id);
    ring_producer_put(&side->producer, &entry);
}

static void *daemon_run(void *argument)
{
    struct side *side = argument;
    uint64_t id = 0;
    while (id < ROUND_TRIPS) {
        for (uint32_t ready = wait_for_entries(side); ready > 0; ready--, id++) {
            struct ring_submission entry;
            ring_consumer_take(&side->consumer, &entry);
            MUST(entry.id == id && entry.offset_bytes == mixed(id) && entry.reserved == ~mixed(id));
            complete(side, id);
            if (rand_r(&side->seed) % 32 == 0)
                publish_completions(side);
        }
        publish_completions(side);
    }
    return NULL;
}

static struct ring_words *words_of(char *memory, int ring)
{
    return (struct ring_words *)(void *)memory + ring;
}

static void client_init(struct side *side, char *memory, const struct ring_layout *layout)
{
    ring_producer_init(&side->producer, words_of(memory, 0), memory + layout->submissions, ENTRIES,
                       sizeof(struct ring_submission));
    ring_consumer_init(&side->consumer, words_of(memory, 1), memory + layout->completions, ENTRIES,
                       sizeof(struct ring_completion));
    side->messages = (void *)(memory + layout->messages);
}

static void daemon_init(struct side *side, char *memory, const struct ring_layout *layout)
{
    ring_consumer_init(&side->consumer, words_of(memory, 0), memory + layout->submissions, ENTRIES,
                       sizeof(struct ring_submission));
    ring_producer_init(&side->producer, words_of(memory, 1), memory + layout->completions, ENTRIES,
                       sizeof(struct ring_completion));
    side->messages = (void *)(memory + layout->messages);
}

static char *map(int fd, const struct ring_layout *layout)
{
    char *memory = mmap(NULL, layout->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

/* _i: the number of mappings, less one. A wake-up that is lost makes it time out. */
START_TEST(two_sides_sleep_and_wake_over_a_million_entries)
{
    struct ring_layout layout;
    ck_assert_int_eq(ring_layout(ENTRIES, &layout), 0);
    CLEANUP_CLOSE int fd = memfd_create("rings", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(fd, (off_t)layout.size_bytes), 0);
    char *clients = map(fd, &layout);
    char *daemons = _i == 0 ? clients : map(fd, &layout);
    CLEANUP_CLOSE int client_bell = eventfd(0, EFD_CLOEXEC);
    CLEANUP_CLOSE int daemon_bell = eventfd(0, EFD_CLOEXEC);
    struct side client = {.bell = client_bell, .other_bell = daemon_bell, .seed = 1};
    struct side daemon = {.bell = daemon_bell, .other_bell = client_bell, .seed = 2};
    client_init(&client, clients, &layout);
    daemon_init(&daemon, daemons, &layout);

    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, daemon_run, &daemon), 0);
    client_run(&client);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);

    ck_assert_uint_eq(words_of(clients, 0)->head, ROUND_TRIPS);
    ck_assert_uint_eq(words_of(clients, 1)->head, ROUND_TRIPS);
    /* Else it tried nothing; and each wake-up that was sent was for one sleep. */
    ck_assert_uint_gt(client.sleeps, 100);
    ck_assert_uint_gt(daemon.sleeps, 100);
    ck_assert_uint_le(client.sleeps, daemon.wakes);
    ck_assert_uint_le(daemon.sleeps, client.wakes);
    munmap(clients, layout.size_bytes);
    if (daemons != clients)
        munmap(daemons, layout.size_bytes);
}
END_TEST

/* Memory that ends in nothing on both sides. */
static void *guarded_page(void)
{
    char *memory = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    ck_assert_int_eq(mprotect(memory + PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
    return memory + PAGE;
}

/* Mostly near to what is possible, which goes deeper. */
static uint32_t random_word(uint32_t near)
{
    uint32_t any = (uint32_t)rand() ^ (uint32_t)rand() << 16;
    return rand() % 16 == 0 ? any : near + any % (GUARDED_COUNT / 4 + 1) - (any % 64 == 0);
}

static int use_consumer(struct ring_consumer *consumer)
{
    struct ring_submission entry;
    uint32_t ready = 0;
    (void)ring_consumer_sleep(consumer);
    int r = ring_consumer_look(consumer, &ready);
    ck_assert_uint_le(ready, GUARDED_COUNT);
    for (; ready > 0; ready--)
        ck_assert_uint_lt(ring_consumer_take(consumer, &entry), GUARDED_COUNT);
    if (rand() % 2)
        ring_consumer_release(consumer);
    return r;
}

static int use_producer(struct ring_producer *producer)
{
    struct ring_submission entry = {.id = 1};
    uint32_t free_places = 0;
    int r = ring_producer_room(producer, GUARDED_COUNT, &free_places);
    ck_assert_uint_le(free_places, GUARDED_COUNT);
    for (; free_places > 0; free_places--)
        ck_assert_uint_lt(ring_producer_put(producer, &entry), GUARDED_COUNT);
    ring_producer_publish(producer);
    (void)ring_producer_must_wake(producer);
    return r;
}

START_TEST(random_words_lead_nowhere_else)
{
    void *entries = guarded_page();
    static struct ring_words words; /* not on the stack: gcc does not align that with a sanitizer */
    struct ring_producer producer;
    struct ring_consumer consumer;
    static_assert(GUARDED_COUNT * sizeof(struct ring_submission) == PAGE, "they fill it");
    ring_producer_init(&producer, &words, entries, GUARDED_COUNT, sizeof(struct ring_submission));
    ring_consumer_init(&consumer, &words, entries, GUARDED_COUNT, sizeof(struct ring_submission));

    int refused[2] = {0};
    int accepted[2] = {0};
    for (int i = 0; i < 30000; i++) {
        atomic_store(&words.tail, random_word(consumer.tail));
        atomic_store(&words.head, random_word(producer.head));
        atomic_store(&words.need_wakeup, random_word(0));
        if (use_consumer(&consumer) == 0) {
            accepted[0]++;
        } else {
            refused[0]++;
            ring_consumer_init(&consumer, &words, entries, GUARDED_COUNT,
                               sizeof(struct ring_submission));
        }
        if (use_producer(&producer) == 0) {
            accepted[1]++;
        } else {
            refused[1]++;
            ring_producer_init(&producer, &words, entries, GUARDED_COUNT,
                               sizeof(struct ring_submission));
        }
    }
    for (int side = 0; side < 2; side++) {
        ck_assert_int_gt(accepted[side], 1000);
        ck_assert_int_gt(refused[side], 1000);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring, shared");
    TCase *tcase = tcase_create("both ends");
    tcase_add_loop_test(tcase, two_sides_sleep_and_wake_over_a_million_entries, 0, 2);
    tcase_add_test(tcase, random_words_lead_nowhere_else);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
