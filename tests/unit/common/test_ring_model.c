/* SPDX-License-Identifier: MIT */
/*
 * Tries all interleavings of a ring's two ends, as ring.c has them, load by load and store by
 * store, on a machine that orders memory as x86 does: each side's stores wait in a buffer of its
 * own, first in, first out, that it alone sees; a seq_cst store or an exchange empties it first and
 * goes to memory at once. A wake-up (a write to an eventfd) goes past the buffers, which is worse
 * than what system calls do.
 *
 * What must hold in every state:
 * - nobody sleeps with an entry in the ring while the other side, idle, will not wake it;
 * - the entries taken are those published, each once, in order; indices are never impossible;
 * - no more wake-ups than times that the consumer asked for one.
 *
 * A search that can find nothing proves nothing: so it is given protocols with one mistake each,
 * and has to find what that leads to.
 */
#include "tests/unit/common/ring_model.h"
#include "tests/unit/suite.h"

static void step_fill(struct search *search, struct state state)
{
    if (state.tail == search->entries || !buffer_has_room(&state.producers))
        return;
    if (state.tail - state.seen_head < search->places) {
        uint8_t place = state.tail % search->places;
        state.tail++;
        if (search->mistake != FILLS_LATE)
            buffer_store(&state.producers, PLACE + place, state.tail);
        state.producer_at = P_FILLED;
        search_reach(search, &state, "producer: puts an entry");
        return;
    }
    uint8_t head = state_load(&state, &state.producers, HEAD);
    if (head < state.seen_head || head > state.published)
        search_blame(search, IMPOSSIBLE_INDEX);
    state.seen_head = head;
    search_reach(search, &state, "producer: looks at head");
}

static void step_publish(struct search *search, struct state state)
{
    uint8_t first = state.published;
    state.published = state.tail;
    state.producer_at = search->mistake == FILLS_LATE ? P_FILL_LATE : P_NEED;
    if (search->mistake == PLAIN_TAIL) {
        if (!buffer_has_room(&state.producers))
            return;
        buffer_store(&state.producers, TAIL, state.tail);
    } else {
        if (state.producers.length > 0)
            return;
        state.memory[TAIL] = state.tail;
    }
    if (search->mistake == FILLS_LATE && state.tail != first + 1)
        return; /* one by one: enough for a mistake */
    search_reach(search, &state, "producer: publishes");
}

static void step_wake(struct search *search, struct state state)
{
    state.bell = 1;
    state.woken++;
    if (state.woken > state.asked)
        search_blame(search, TOO_MANY_WAKEUPS);
    state.producer_at = search->mistake == WAKES_THEN_CLEARS ? P_EXCHANGE : P_IDLE;
    search_reach(search, &state, "producer: wakes the consumer");
}

static void step_exchange(struct search *search, struct state state)
{
    if (state.producers.length > 0)
        return;
    bool was_set = state.memory[NEED_WAKEUP] != 0;
    state.memory[NEED_WAKEUP] = 0;
    state.producer_at = was_set && search->mistake != WAKES_THEN_CLEARS ? P_WAKE : P_IDLE;
    search_reach(search, &state, "producer: takes need_wakeup back");
}

static void step_need(struct search *search, struct state state)
{
    bool is_set = state_load(&state, &state.producers, NEED_WAKEUP) != 0;
    bool at_once = search->mistake == WAKES_THEN_CLEARS || search->mistake == NEVER_CLEARS;
    state.producer_at = (uint8_t)(!is_set ? P_IDLE : at_once ? P_WAKE : P_EXCHANGE);
    search_reach(search, &state,
                 is_set ? "producer: sees need_wakeup" : "producer: sees no need_wakeup");
}

static void step_fill_late(struct search *search, struct state state)
{
    buffer_store(&state.producers, PLACE + (state.tail - 1U) % search->places, state.tail);
    state.producer_at = P_NEED;
    search_reach(search, &state, "producer: fills late");
}

static void step_producer(struct search *search, const struct state *state)
{
    switch ((enum producer_at)state->producer_at) {
    case P_IDLE:
        step_fill(search, *state);
        break;
    case P_FILLED:
        step_fill(search, *state);
        step_publish(search, *state);
        break;
    case P_FILL_LATE:
        step_fill_late(search, *state);
        break;
    case P_NEED:
        step_need(search, *state);
        break;
    case P_EXCHANGE:
        step_exchange(search, *state);
        break;
    case P_WAKE:
        step_wake(search, *state);
        break;
    }
}

static void see_tail(struct search *search, struct state *state)
{
    uint8_t tail = state_load(state, &state->consumers, TAIL);
    if (tail < state->seen_tail || tail - state->released > search->places)
        search_blame(search, IMPOSSIBLE_INDEX);
    state->seen_tail = tail;
}

static void step_look(struct search *search, struct state state)
{
    see_tail(search, &state);
    state.consumer_at = state.seen_tail != state.head ? C_TAKE : C_ARM;
    search_reach(search, &state, "consumer: looks");
}

static void step_release(struct search *search, struct state state, uint8_t head, uint8_t next)
{
    if (!buffer_has_room(&state.consumers))
        return;
    buffer_store(&state.consumers, HEAD, head);
    state.released = head;
    state.consumer_at = next;
    search_reach(search, &state, "consumer: releases");
}

static void step_take(struct search *search, struct state state)
{
    uint8_t entry = state_load(&state, &state.consumers, PLACE + state.head % search->places);
    state.head++;
    if (entry != state.head)
        search_blame(search, WRONG_ENTRY);
    bool more = state.head != state.seen_tail;
    state.consumer_at = (uint8_t)(search->mistake != RELEASES_EARLY ? C_TOOK
                                  : more                            ? C_TAKE
                                                                    : C_LOOK);
    search_reach(search, &state, "consumer: takes an entry");
}

static void step_arm(struct search *search, struct state state)
{
    if (search->mistake == PLAIN_NEED_WAKEUP) {
        if (!buffer_has_room(&state.consumers))
            return;
        buffer_store(&state.consumers, NEED_WAKEUP, 1);
    } else {
        if (state.consumers.length > 0)
            return;
        state.memory[NEED_WAKEUP] = 1;
    }
    if (state.asked <= search->entries)
        state.asked++;
    state.consumer_at = search->mistake == NO_SECOND_LOOK ? C_SLEEP : C_RELOOK;
    search_reach(search, &state, "consumer: sets need_wakeup");
}

static void step_relook(struct search *search, struct state state)
{
    see_tail(search, &state);
    bool clears = search->mistake == CLEARS_BEFORE_SLEEP;
    state.consumer_at = (uint8_t)(state.seen_tail != state.head ? C_FOUND
                                  : clears                      ? C_CLEAR
                                                                : C_SLEEP);
    search_reach(search, &state, "consumer: looks again");
}

static void step_clear(struct search *search, struct state state, uint8_t next)
{
    if (!buffer_has_room(&state.consumers))
        return;
    buffer_store(&state.consumers, NEED_WAKEUP, 0);
    state.consumer_at = next;
    search_reach(search, &state, "consumer: clears need_wakeup");
}

static void step_asleep(struct search *search, struct state state)
{
    state.consumer_at = C_WOKEN;
    if (search->wakes_by_itself)
        search_reach(search, &state, "consumer: wakes by itself");
    if (state.bell == 0)
        return;
    state.bell = 0;
    search_reach(search, &state, "consumer: is woken");
}

static void step_consumer(struct search *search, const struct state *state)
{
    bool more = state->head != state->seen_tail;
    switch ((enum consumer_at)state->consumer_at) {
    case C_LOOK:
        step_look(search, *state);
        break;
    case C_TAKE:
        if (search->mistake == RELEASES_EARLY)
            step_release(search, *state, (uint8_t)(state->head + 1), C_TAKE_LATE);
        else
            step_take(search, *state);
        break;
    case C_TAKE_LATE:
        step_take(search, *state);
        break;
    case C_TOOK:
        step_release(search, *state, state->head, more ? C_TAKE : C_LOOK);
        if (more)
            step_take(search, *state);
        break;
    case C_ARM:
        step_arm(search, *state);
        break;
    case C_RELOOK:
        step_relook(search, *state);
        break;
    case C_FOUND:
        step_clear(search, *state, C_TAKE);
        break;
    case C_CLEAR:
        step_clear(search, *state, C_SLEEP);
        break;
    case C_SLEEP:
        step_asleep(search, *state);
        break;
    case C_WOKEN:
        step_clear(search, *state, C_LOOK);
        break;
    }
}

static void step_memory(struct search *search, const struct state *state)
{
    struct state next = *state;
    if (next.producers.length > 0) {
        state_drain(&next, &next.producers);
        search_reach(search, &next, "memory: the producer's oldest store arrives");
    }
    next = *state;
    if (next.consumers.length > 0) {
        state_drain(&next, &next.consumers);
        search_reach(search, &next, "memory: the consumer's oldest store arrives");
    }
}

/* The producer may stay idle for ever: it does not count that its next publication would wake. */
static bool sleeps_for_ever(const struct state *state)
{
    return state->consumer_at == C_SLEEP && state->bell == 0 && state->producer_at == P_IDLE &&
           state->producers.length == 0 && state->consumers.length == 0 &&
           state->memory[TAIL] != state->head;
}

/* Continues the node search->at. */
static void expand(struct search *search)
{
    struct state state = search->nodes[search->at].state;
    if (sleeps_for_ever(&state))
        search_blame(search, LOST_WAKEUP);
    search->moved = false;
    step_producer(search, &state);
    step_consumer(search, &state);
    step_memory(search, &state);
    if (!search->moved && (state.head != search->entries || state.bell != 0))
        search_blame(search, NOT_ALL_TAKEN);
}

/* The shortest way to what is wrong comes first: nodes are continued in the order they are found.
 */
static enum verdict run(struct search *search)
{
    search_start(search);
    for (search->at = 0; search->at < search->count; search->at++) {
        expand(search);
        if (search->verdict != FINE)
            break;
    }
    printf("%d entries through %d places: %d states: %s\n", search->entries, search->places,
           search->count, verdicts[search->verdict]);
    return search->verdict;
}

static const struct {
    uint8_t places, entries;
    bool wakes_by_itself;
    int states_min; /* fewer: it did not look at what it should have */
} sizes[] = {{1, 4, false, 5000},
             {2, 4, false, 16000},
             {2, 4, true, 30000},
             {2, 6, true, 96000},
             {4, 6, true, 410000}};

START_TEST(the_protocol_holds_in_all_interleavings)
{
    struct search search = {.places = sizes[_i].places,
                            .entries = sizes[_i].entries,
                            .wakes_by_itself = sizes[_i].wakes_by_itself};
    enum verdict verdict = run(&search);
    if (verdict != FINE)
        search_print_way(&search, search.at);
    ck_assert_str_eq(verdicts[verdict], verdicts[FINE]);
    ck_assert_int_ge(search.count, sizes[_i].states_min);
    search_free(&search);
}
END_TEST

static const struct {
    enum mistake mistake;
    enum verdict verdict;
} controls[] = {
    {PLAIN_TAIL, LOST_WAKEUP},        {PLAIN_NEED_WAKEUP, LOST_WAKEUP},
    {NO_SECOND_LOOK, LOST_WAKEUP},    {CLEARS_BEFORE_SLEEP, LOST_WAKEUP},
    {WAKES_THEN_CLEARS, LOST_WAKEUP}, {NEVER_CLEARS, TOO_MANY_WAKEUPS},
    {FILLS_LATE, WRONG_ENTRY},        {RELEASES_EARLY, WRONG_ENTRY},
};

START_TEST(a_mistake_in_the_protocol_is_found)
{
    struct search search = {.places = 2, .entries = 4, .mistake = controls[_i].mistake};
    enum verdict verdict = run(&search);
    ck_assert_str_eq(verdicts[verdict], verdicts[controls[_i].verdict]);
    search_free(&search);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring, all interleavings");
    TCase *tcase = tcase_create("model");
    tcase_add_loop_test(tcase, the_protocol_holds_in_all_interleavings, 0,
                        sizeof sizes / sizeof *sizes);
    tcase_add_loop_test(tcase, a_mistake_in_the_protocol_is_found, 0,
                        sizeof controls / sizeof *controls);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
