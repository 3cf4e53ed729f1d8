/* SPDX-License-Identifier: MIT */
/*
 * The two ends of a ring. Why each order of the shared words is as it is stands in ring.h. There is
 * no fence here: all order comes from the operations on the words themselves, which is what
 * ThreadSanitizer understands.
 *
 * Invariants, modulo 2^32: in a producer, head <= published <= tail <= head + count; in a consumer,
 * released <= head <= tail <= released + count. The other side's index enters only through
 * producer_look and consumer_accept, which let nothing in that would break them.
 */
#include "common/ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    PAGE_BYTES = 4096,
    WORD_BYTES = sizeof(uint64_t),
};

static_assert(2 * sizeof(struct ring_words) <= PAGE_BYTES, "the words fit in the first page");
static_assert(sizeof(_Atomic uint64_t) == WORD_BYTES, "an entry is an array of these");
static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LONG_LOCK_FREE == 2 && sizeof(long) == WORD_BYTES,
              "a lock would be of one process only");

static bool is_power_of_two(uint32_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

int ring_layout(uint32_t entries, struct ring_layout *ret_layout)
{
    if (!is_power_of_two(entries) || entries < RING_ENTRIES_MIN || entries > RING_ENTRIES_MAX)
        return -EINVAL;

    struct ring_layout layout = {.entries = entries, .submissions = PAGE_BYTES};
    layout.completions = layout.submissions + entries * sizeof(struct ring_submission);
    layout.messages = whole_pages(layout.completions + entries * sizeof(struct ring_completion));
    layout.size_bytes = whole_pages(layout.messages + (size_t)entries * RING_MESSAGE_BYTES);
    *ret_layout = layout;
    return 0;
}

static void check_geometry(uint32_t count, uint32_t entry_bytes)
{
    assert(is_power_of_two(count));
    assert(entry_bytes != 0 && entry_bytes % WORD_BYTES == 0);
    (void)count;
    (void)entry_bytes;
}

void ring_producer_init(struct ring_producer *producer, struct ring_words *words, void *entries,
                        uint32_t count, uint32_t entry_bytes)
{
    check_geometry(count, entry_bytes);
    *producer = (struct ring_producer){
        .words = words,
        .entries = entries,
        .count = count,
        .entry_words = entry_bytes / WORD_BYTES,
    };
}

void ring_consumer_init(struct ring_consumer *consumer, struct ring_words *words,
                        const void *entries, uint32_t count, uint32_t entry_bytes)
{
    check_geometry(count, entry_bytes);
    *consumer = (struct ring_consumer){
        .words = words,
        .entries = entries,
        .count = count,
        .entry_words = entry_bytes / WORD_BYTES,
    };
}

static uint32_t producer_known_room(const struct ring_producer *producer)
{
    return producer->count - (producer->tail - producer->head);
}

/* The consumer can have released nothing that was not published, and takes no release back. */
static int producer_look(struct ring_producer *producer)
{
    uint32_t head = atomic_load_explicit(&producer->words->head, memory_order_acquire);
    if (producer->published - head > producer->published - producer->head) {
        producer->broken = true;
        return -EPROTO;
    }
    producer->head = head;
    return 0;
}

int ring_producer_room(struct ring_producer *producer, uint32_t wanted, uint32_t *ret_room)
{
    if (producer->broken)
        return -EPROTO;
    if (producer_known_room(producer) < wanted) {
        int r = producer_look(producer);
        if (r < 0)
            return r;
    }
    *ret_room = producer_known_room(producer);
    return 0;
}

uint32_t ring_producer_place(const struct ring_producer *producer)
{
    return producer->tail & (producer->count - 1);
}

uint32_t ring_producer_put(struct ring_producer *producer, const void *entry)
{
    assert(producer_known_room(producer) > 0);

    uint32_t place = ring_producer_place(producer);
    _Atomic uint64_t *to = producer->entries + (size_t)place * producer->entry_words;
    const char *from = entry;
    for (uint32_t i = 0; i < producer->entry_words; i++, from += WORD_BYTES) {
        uint64_t word;
        memcpy(&word, from, WORD_BYTES);
        atomic_store_explicit(to + i, word, memory_order_relaxed);
    }
    producer->tail++;
    return place;
}

bool ring_producer_publish(struct ring_producer *producer)
{
    if (producer->published == producer->tail)
        return false;
    atomic_store_explicit(&producer->words->tail, producer->tail, memory_order_seq_cst);
    producer->published = producer->tail;
    return true;
}

bool ring_producer_must_wake(struct ring_producer *producer)
{
    /* Mostly it is not set: the load leaves the cache line shared. */
    if (atomic_load_explicit(&producer->words->need_wakeup, memory_order_seq_cst) == 0)
        return false;
    return atomic_exchange_explicit(&producer->words->need_wakeup, 0, memory_order_seq_cst) != 0;
}

/* The producer takes back nothing that it published, and has no more than `count` entries out. */
static int consumer_accept(struct ring_consumer *consumer, uint32_t tail)
{
    uint32_t known = consumer->tail - consumer->released;
    uint32_t seen = tail - consumer->released;
    if (consumer->broken || seen < known || seen > consumer->count) {
        consumer->broken = true;
        return -EPROTO;
    }
    consumer->tail = tail;
    return 0;
}

int ring_consumer_look(struct ring_consumer *consumer, uint32_t *ret_ready)
{
    /* A broken consumer knows of no entry either: it broke when it knew of none. */
    if (consumer->tail == consumer->head) {
        int r = consumer_accept(consumer,
                                atomic_load_explicit(&consumer->words->tail, memory_order_acquire));
        if (r < 0)
            return r;
    }
    *ret_ready = consumer->tail - consumer->head;
    return 0;
}

bool ring_consumer_ready(const struct ring_consumer *consumer)
{
    return consumer->tail != consumer->head || consumer->broken ||
           atomic_load_explicit(&consumer->words->tail, memory_order_relaxed) != consumer->tail;
}

uint32_t ring_consumer_waiting(const struct ring_consumer *consumer)
{
    return consumer->tail - consumer->head;
}

uint32_t ring_consumer_take(struct ring_consumer *consumer, void *ret_entry)
{
    assert(consumer->tail != consumer->head);

    uint32_t place = consumer->head & (consumer->count - 1);
    const _Atomic uint64_t *from = consumer->entries + (size_t)place * consumer->entry_words;
    char *to = ret_entry;
    for (uint32_t i = 0; i < consumer->entry_words; i++, to += WORD_BYTES) {
        uint64_t word = atomic_load_explicit(from + i, memory_order_relaxed);
        memcpy(to, &word, WORD_BYTES);
    }
    consumer->head++;
    /* The next one comes from the producer's cache while this one is worked on. */
    if (consumer->head != consumer->tail)
        __builtin_prefetch(consumer->entries + (size_t)(consumer->head & (consumer->count - 1)) *
                                                   consumer->entry_words);
    return place;
}

void ring_consumer_release(struct ring_consumer *consumer)
{
    if (consumer->released == consumer->head)
        return;
    atomic_store_explicit(&consumer->words->head, consumer->head, memory_order_release);
    consumer->released = consumer->head;
}

bool ring_consumer_sleep(struct ring_consumer *consumer)
{
    if (consumer->tail != consumer->head || consumer->broken)
        return false;
    atomic_store_explicit(&consumer->words->need_wakeup, 1, memory_order_seq_cst);
    uint32_t tail = atomic_load_explicit(&consumer->words->tail, memory_order_seq_cst);
    if (consumer_accept(consumer, tail) == 0 && consumer->tail == consumer->head)
        return true;
    ring_consumer_wake(consumer);
    return false;
}

/* Relaxed: seen late, it makes one wake-up too many; and it cannot come after a later store of 1.
 */
void ring_consumer_wake(struct ring_consumer *consumer)
{
    atomic_store_explicit(&consumer->words->need_wakeup, 0, memory_order_relaxed);
}

void ring_consumer_set_cpu(struct ring_consumer *consumer, int cpu)
{
    _Atomic uint32_t *word = &consumer->words->consumer_cpu;
    uint32_t hint = cpu < 0 ? 0 : (uint32_t)cpu + 1;
    /* Written only when it changes, so that the producer keeps its copy of the cache line. */
    if (atomic_load_explicit(word, memory_order_relaxed) != hint)
        atomic_store_explicit(word, hint, memory_order_relaxed);
}

bool ring_producer_shares_cpu(const struct ring_producer *producer, int cpu)
{
    uint32_t hint = atomic_load_explicit(&producer->words->consumer_cpu, memory_order_relaxed);
    return cpu >= 0 && hint == (uint32_t)cpu + 1;
}
