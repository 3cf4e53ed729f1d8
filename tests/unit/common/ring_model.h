/* SPDX-License-Identifier: MIT */
/*
 * For test_ring_model.c: a ring and its two ends as one value, the store buffers between them and
 * memory, and the set of all values that were reached, with the step that led to each.
 */
#ifndef BLKD_TESTS_UNIT_COMMON_RING_MODEL_H
#define BLKD_TESTS_UNIT_COMMON_RING_MODEL_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACES_MAX = 4,
    BUFFER_MAX = 6,
    VALUE_BITS = 4, /* of an index or an entry: none of them wraps around here */
    NO_PARENT = -1,
    TABLE_BITS = 23,
};

enum variable { TAIL, HEAD, NEED_WAKEUP, PLACE, VARIABLES = PLACE + PLACES_MAX };

enum mistake {
    NONE,
    PLAIN_TAIL,          /* stores tail without seq_cst */
    PLAIN_NEED_WAKEUP,   /* stores need_wakeup without seq_cst */
    NO_SECOND_LOOK,      /* sleeps without having looked again */
    CLEARS_BEFORE_SLEEP, /* after the second look */
    WAKES_THEN_CLEARS,   /* the producer takes need_wakeup back too late */
    NEVER_CLEARS,        /* the producer does not take it back */
    FILLS_LATE,          /* after having published */
    RELEASES_EARLY,      /* before having taken */
};

enum verdict { FINE, LOST_WAKEUP, WRONG_ENTRY, IMPOSSIBLE_INDEX, TOO_MANY_WAKEUPS, NOT_ALL_TAKEN };

static const char *const verdicts[] = {"fine",
                                       "a wake-up is lost",
                                       "a wrong entry is taken",
                                       "an index is impossible",
                                       "too many wake-ups",
                                       "it ends before all are taken"};

/* What a side does next. */
enum producer_at { P_IDLE, P_FILLED, P_FILL_LATE, P_NEED, P_EXCHANGE, P_WAKE };
enum consumer_at {
    C_LOOK,
    C_TAKE,
    C_TAKE_LATE,
    C_TOOK,
    C_ARM,
    C_RELOOK,
    C_FOUND,
    C_CLEAR,
    C_SLEEP,
    C_WOKEN
};

struct buffer {
    uint8_t length;
    uint8_t stores[BUFFER_MAX]; /* the oldest first; 0 where there is none */
};

/* All bytes, so that states can be compared as memory. */
struct state {
    uint8_t memory[VARIABLES];
    struct buffer producers, consumers;
    uint8_t producer_at, consumer_at;
    uint8_t tail, published, seen_head;
    uint8_t head, released, seen_tail;
    uint8_t bell;         /* whether the consumer's eventfd is readable */
    uint8_t asked, woken; /* times; of `asked`, one more than `woken` can be stands for more */
};

struct node {
    struct state state;
    int parent;
    const char *step;
};

struct search {
    enum mistake mistake;
    uint8_t places, entries;
    bool wakes_by_itself; /* the consumer may wake for other reasons */
    struct node *nodes;
    int count, room;
    int *table; /* number of a node, and one more */
    enum verdict verdict;
    int at; /* the node that is being continued, and then the bad one */
    bool moved;
};

static inline uint8_t state_load(const struct state *state, const struct buffer *own,
                                 unsigned variable)
{
    for (int i = own->length; i-- > 0;)
        if (own->stores[i] >> VALUE_BITS == (int)variable)
            return own->stores[i] & ((1 << VALUE_BITS) - 1);
    return state->memory[variable];
}

static inline bool buffer_has_room(const struct buffer *own)
{
    return own->length < BUFFER_MAX;
}

static inline void buffer_store(struct buffer *own, unsigned variable, uint8_t value)
{
    own->stores[own->length++] = (uint8_t)(variable << VALUE_BITS | value);
}

static inline void state_drain(struct state *state, struct buffer *own)
{
    uint8_t oldest = own->stores[0];
    memmove(own->stores, own->stores + 1, BUFFER_MAX - 1);
    own->stores[BUFFER_MAX - 1] = 0;
    own->length--;
    state->memory[oldest >> VALUE_BITS] = oldest & ((1 << VALUE_BITS) - 1);
}

static inline uint64_t state_hash(const struct state *state)
{
    uint64_t sum = 0xcbf29ce484222325;
    const unsigned char *bytes = (const void *)state;
    for (size_t i = 0; i < sizeof *state; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3;
    return sum ^ sum >> 29;
}

/* One step led to `state`. */
static inline void search_reach(struct search *search, const struct state *state, const char *step)
{
    search->moved = true;
    uint64_t slot = state_hash(state);
    for (;; slot++) {
        slot &= (1U << TABLE_BITS) - 1;
        int number = search->table[slot];
        if (number == 0)
            break;
        if (memcmp(&search->nodes[number - 1].state, state, sizeof *state) == 0)
            return;
    }
    ck_assert_int_lt(search->count, 1 << (TABLE_BITS - 1));
    if (search->count == search->room) {
        search->room *= 2;
        search->nodes = realloc(search->nodes, (size_t)search->room * sizeof *search->nodes);
        ck_assert_ptr_nonnull(search->nodes);
    }
    search->nodes[search->count++] = (struct node){*state, search->at, step};
    search->table[slot] = search->count;
}

static inline void search_blame(struct search *search, enum verdict verdict)
{
    if (search->verdict == FINE)
        search->verdict = verdict;
}

static inline void search_start(struct search *search)
{
    struct state start = {0};
    search->table = calloc(1U << TABLE_BITS, sizeof *search->table);
    ck_assert_ptr_nonnull(search->table);
    search->room = 1024;
    search->nodes = malloc((size_t)search->room * sizeof *search->nodes);
    ck_assert_ptr_nonnull(search->nodes);
    search->at = NO_PARENT;
    search_reach(search, &start, "start");
}

/* The steps from the start to `number`. */
static inline void search_print_way(const struct search *search, int number)
{
    int steps = 0;
    for (int at = number; at != NO_PARENT; at = search->nodes[at].parent)
        steps++;
    for (; steps > 0; steps--) {
        int at = number;
        for (int back = 1; back < steps; back++)
            at = search->nodes[at].parent;
        printf("    %s\n", search->nodes[at].step);
    }
    (void)fflush(stdout); /* Check ends a failed test without */
}

static inline void search_free(struct search *search)
{
    free(search->nodes);
    free(search->table);
}

#endif
