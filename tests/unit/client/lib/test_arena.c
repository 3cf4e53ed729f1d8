/* SPDX-License-Identifier: MIT */
/*
 * Pages of shared memory: against a model that keeps an owner for each page and looks at all of
 * them. The module never touches the memory itself, so none is behind these addresses.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client/lib/ring/arena.h"
#include "tests/unit/suite.h"

enum {
    PAGE = ARENA_PAGE_BYTES,
    SPACE_PAGES = 4096,
    SLOTS = 8, /* of the model: places of SLOT_PAGES for arenas, one next to the other */
    SLOT_PAGES = 320,
    MODEL_BUFFERS = 256,
};

static uint8_t *space;
static struct arena_set set;

static void set_up(void)
{
    space = mmap(NULL, (size_t)SPACE_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(space, MAP_FAILED);
    arena_set_init(&set);
}

static void tear_down(void)
{
    arena_set_deinit(&set, NULL);
    ck_assert_int_eq(munmap(space, (size_t)SPACE_PAGES * PAGE), 0);
}

static uint8_t *page_at(size_t page)
{
    return space + page * PAGE;
}

static void add(uint32_t number, size_t first_page, size_t pages)
{
    ck_assert_int_eq(arena_add(&set, number, page_at(first_page), pages * PAGE), 0);
}

/* What arena_find says of a range, checked for the parts that always hold. */
static size_t find(const uint8_t *pointer, size_t length, struct arena_place *place,
                   size_t *foreign)
{
    size_t found;

    *place = (struct arena_place){.number = 77, .offset_bytes = 777};
    *foreign = SIZE_MAX;
    found = arena_find(&set, pointer, length, place, foreign);
    if (found == 0) {
        ck_assert_uint_eq(place->number, 77);
        ck_assert_uint_eq(place->offset_bytes, 777);
    } else {
        ck_assert_uint_eq(*foreign, 0);
    }
    return found;
}

static void check_found(const uint8_t *pointer, size_t length, size_t found, uint32_t number,
                        uint64_t offset)
{
    struct arena_place place;
    size_t foreign;

    ck_assert_uint_eq(find(pointer, length, &place, &foreign), found);
    ck_assert_uint_eq(place.number, number);
    ck_assert_uint_eq(place.offset_bytes, offset);
}

static void check_foreign(const uint8_t *pointer, size_t length, size_t expected)
{
    struct arena_place place;
    size_t foreign;

    ck_assert_uint_eq(find(pointer, length, &place, &foreign), 0);
    ck_assert_uint_eq(foreign, expected);
}

START_TEST(a_set_without_arenas_has_nothing)
{
    int here;

    ck_assert_ptr_null(arena_alloc(&set, 1));
    ck_assert_ptr_null(arena_free(&set, &here));
    ck_assert_ptr_null(arena_free(&set, NULL));
    check_foreign(page_at(3), 5 * PAGE, 5 * PAGE);
    check_foreign(NULL, SIZE_MAX, SIZE_MAX);
}
END_TEST

START_TEST(sizes_are_rounded_up_to_pages)
{
    static const size_t sizes[] = {1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 1};
    static const size_t pages[] = {1, 1, 1, 2, 2, 3};

    add(0, 0, 3);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *pointer = arena_alloc(&set, sizes[i]);

        ck_assert_ptr_eq(pointer, page_at(0));
        ck_assert_uint_eq(set.arenas[0].used_pages, pages[i]);
        ck_assert_ptr_eq(arena_free(&set, pointer), &set.arenas[0]);
        ck_assert_uint_eq(set.arenas[0].used_pages, 0);
    }
    ck_assert_ptr_null(arena_alloc(&set, 3 * PAGE + 1));
    ck_assert_ptr_null(arena_alloc(&set, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&set, ((size_t)1 << 32) * PAGE + 1));
}
END_TEST

/* Sizes around a word of the bitmap, all of it taken and given back. */
START_TEST(every_page_can_be_had_and_no_more)
{
    for (size_t pages = 1; pages <= 130; pages++) {
        struct arena_set one;
        void *all;

        arena_set_init(&one);
        ck_assert_int_eq(arena_add(&one, 5, space, pages * PAGE), 0);
        for (size_t i = 0; i < pages; i++)
            ck_assert_ptr_eq(arena_alloc(&one, PAGE), page_at(i));
        ck_assert_ptr_null(arena_alloc(&one, 1));
        for (size_t i = pages; i-- > 0;)
            ck_assert_ptr_eq(arena_free(&one, page_at(i)), &one.arenas[0]);
        all = arena_alloc(&one, pages * PAGE);
        ck_assert_ptr_eq(all, space);
        ck_assert_ptr_null(arena_alloc(&one, 1));
        ck_assert_ptr_nonnull(arena_free(&one, all));
        arena_set_deinit(&one, NULL);
    }
}
END_TEST

START_TEST(pages_must_be_next_to_each_other_in_one_arena)
{
    add(0, 0, 4);
    add(1, 4, 4);
    ck_assert_ptr_null(arena_alloc(&set, 5 * PAGE));
    for (size_t i = 0; i < 8; i++)
        ck_assert_ptr_eq(arena_alloc(&set, PAGE), page_at(i));
    ck_assert_ptr_nonnull(arena_free(&set, page_at(1)));
    ck_assert_ptr_nonnull(arena_free(&set, page_at(3)));
    ck_assert_ptr_nonnull(arena_free(&set, page_at(4)));
    ck_assert_ptr_null(arena_alloc(&set, 2 * PAGE));
    ck_assert_ptr_nonnull(arena_free(&set, page_at(5)));
    ck_assert_ptr_eq(arena_alloc(&set, 2 * PAGE), page_at(4));
}
END_TEST

START_TEST(freeing_what_was_never_given_does_nothing)
{
    uint8_t *run;

    add(0, 8, 8);
    run = arena_alloc(&set, 3 * PAGE);
    ck_assert_ptr_eq(run, page_at(8));
    ck_assert_ptr_null(arena_free(&set, run + 1));
    ck_assert_ptr_null(arena_free(&set, run + PAGE));
    ck_assert_ptr_null(arena_free(&set, run + (size_t)3 * PAGE));
    ck_assert_ptr_null(arena_free(&set, page_at(7)));
    ck_assert_ptr_null(arena_free(&set, page_at(16)));
    ck_assert_uint_eq(set.arenas[0].used_pages, 3);
    ck_assert_ptr_nonnull(arena_free(&set, run));
    ck_assert_ptr_null(arena_free(&set, run));
    ck_assert_uint_eq(set.arenas[0].used_pages, 0);
}
END_TEST

START_TEST(only_what_was_in_use_before_is_stale)
{
    uint8_t *first;
    uint8_t *second;

    add(0, 0, 16);
    first = arena_alloc(&set, 4 * PAGE);
    ck_assert_uint_eq(arena_stale_bytes(&set, first, 4 * PAGE), 0);
    second = arena_alloc(&set, 2 * PAGE);
    ck_assert_ptr_nonnull(arena_free(&set, first));
    ck_assert_uint_eq(arena_stale_bytes(&set, second, 2 * PAGE), 0);
    first = arena_alloc(&set, PAGE + 5);
    ck_assert_ptr_eq(first, page_at(0));
    ck_assert_uint_eq(arena_stale_bytes(&set, first, PAGE + 5), PAGE + 5);
    ck_assert_ptr_nonnull(arena_free(&set, first));
    ck_assert_ptr_nonnull(arena_free(&set, second));
    first = arena_alloc(&set, 16 * PAGE);
    ck_assert_uint_eq(arena_stale_bytes(&set, first, 16 * PAGE), 6 * PAGE);
}
END_TEST

START_TEST(lookups_end_where_an_arena_does)
{
    add(3, 10, 4);
    add(9, 20, 2);
    check_found(page_at(10), 1, 1, 3, 0);
    check_found(page_at(10), 4 * PAGE, 4 * PAGE, 3, 0);
    check_found(page_at(10) + 512, 4 * PAGE, 4 * PAGE - 512, 3, 512);
    check_found(page_at(14) - 1, 1, 1, 3, 4 * PAGE - 1);
    check_found(page_at(14) - 1, SIZE_MAX, 1, 3, 4 * PAGE - 1);
    check_found(page_at(21), 2 * PAGE, PAGE, 9, PAGE);
    check_foreign(page_at(14), 512, 512);
    check_foreign(page_at(22), 512, 512);
    check_foreign(page_at(11), 0, 0);
}
END_TEST

START_TEST(foreign_memory_ends_where_the_next_arena_begins)
{
    add(0, 20, 2);
    add(1, 10, 2);
    check_foreign(page_at(10) - 1, 2, 1);
    check_foreign(page_at(10) - 1, 1, 1);
    check_foreign(page_at(10) - 100, 50, 50);
    check_foreign(page_at(5), SIZE_MAX, 5 * PAGE);
    check_foreign(page_at(12), 100 * PAGE, 8 * PAGE);
    check_foreign(page_at(22), 100 * PAGE, 100 * PAGE);
    arena_remove(&set, &set.arenas[0]);
    check_foreign(page_at(12), 100 * PAGE, 100 * PAGE);
    check_foreign(page_at(5), SIZE_MAX, 5 * PAGE);
}
END_TEST

START_TEST(neighbours_stay_two_arenas)
{
    add(1, 4, 2);
    add(2, 6, 2);
    check_found(page_at(5), 2 * PAGE, PAGE, 1, PAGE);
    check_found(page_at(6), 2 * PAGE, 2 * PAGE, 2, 0);
    check_found(page_at(6) - 1, 2, 1, 1, 2 * PAGE - 1);
}
END_TEST

START_TEST(places_are_used_again)
{
    for (uint32_t i = 0; i < ARENAS_PER_CONNECTION; i++)
        add(i, (size_t)i * 2, 2);
    ck_assert_int_eq(arena_add(&set, 99, page_at(500), PAGE), -ENOSPC);
    check_found(page_at(127), 1, 1, 63, PAGE);
    arena_remove(&set, &set.arenas[63]);
    check_foreign(page_at(127), 1, 1);
    arena_remove(&set, &set.arenas[17]);
    check_foreign(page_at(34), PAGE, PAGE);
    add(70, 500, 1);
    add(71, 502, 1);
    ck_assert_int_eq(arena_add(&set, 99, page_at(504), PAGE), -ENOSPC);
    check_found(page_at(500), 1, 1, 70, 0);
    check_found(page_at(502), 1, 1, 71, 0);
}
END_TEST

static uint32_t unmapped;
static size_t unmapped_bytes;

static void count_unmap(void *base, size_t size_bytes)
{
    ck_assert_ptr_nonnull(base);
    unmapped++;
    unmapped_bytes += size_bytes;
}

START_TEST(deinit_unmaps_each_arena_once)
{
    for (uint32_t i = 0; i < 5; i++)
        add(i, (size_t)i * 10, i + 1);
    ck_assert_ptr_nonnull(arena_alloc(&set, PAGE));
    arena_remove(&set, &set.arenas[2]);
    arena_set_deinit(&set, count_unmap);
    ck_assert_uint_eq(unmapped, 4);
    ck_assert_uint_eq(unmapped_bytes, (1 + 2 + 4 + 5) * PAGE);
    ck_assert_ptr_null(arena_alloc(&set, 1));
    check_foreign(page_at(0), PAGE, PAGE);
}
END_TEST

/* ---- the model ---- */

struct model_buffer {
    uint8_t *pointer; /* NULL: there is none */
    size_t pages;
};

struct model {
    uint32_t owner[SPACE_PAGES]; /* a buffer's index and one more; 0: free */
    bool stale[SPACE_PAGES];
    uint32_t arena_pages[SLOTS]; /* of the arena in a slot; 0: there is none */
    struct model_buffer buffers[MODEL_BUFFERS];
};

/* The slot whose arena has a page; SLOTS: none has. */
static size_t model_slot(const struct model *model, size_t page)
{
    size_t slot = page / SLOT_PAGES;

    return slot < SLOTS && page % SLOT_PAGES < model->arena_pages[slot] ? slot : SLOTS;
}

static bool model_has_room(const struct model *model, size_t pages)
{
    for (size_t slot = 0; slot < SLOTS; slot++) {
        size_t run = 0;

        for (size_t i = 0; i < model->arena_pages[slot]; i++) {
            run = model->owner[slot * SLOT_PAGES + i] == 0 ? run + 1 : 0;
            if (run >= pages)
                return true;
        }
    }
    return false;
}

static void model_alloc(struct model *model, size_t buffer)
{
    size_t pages = rand() % 4 == 0 ? (size_t)(rand() % SLOT_PAGES) + 1 : (size_t)(rand() % 6) + 1;
    uint8_t *pointer = arena_alloc(&set, pages * PAGE - (size_t)(rand() % PAGE));
    size_t first;
    size_t stale = 0;

    if (pointer == NULL) {
        ck_assert(!model_has_room(model, pages));
        return;
    }
    ck_assert_uint_eq((size_t)(pointer - space) % PAGE, 0);
    first = (size_t)(pointer - space) / PAGE;
    ck_assert_uint_lt(model_slot(model, first), SLOTS);
    ck_assert_uint_eq(model_slot(model, first), model_slot(model, first + pages - 1));
    for (size_t page = first; page < first + pages; page++) {
        ck_assert_uint_eq(model->owner[page], 0);
        model->owner[page] = (uint32_t)buffer + 1;
        if (model->stale[page])
            stale = page + 1 - first;
    }
    ck_assert_uint_ge(arena_stale_bytes(&set, pointer, pages * PAGE), stale * PAGE);
    model->buffers[buffer] = (struct model_buffer){pointer, pages};
}

static void model_free(struct model *model, size_t buffer)
{
    struct model_buffer *freed = &model->buffers[buffer];
    size_t first = (size_t)(freed->pointer - space) / PAGE;
    const struct arena *arena = arena_free(&set, freed->pointer);

    ck_assert_ptr_nonnull(arena);
    ck_assert_uint_eq(arena->number, model_slot(model, first));
    for (size_t page = first; page < first + freed->pages; page++) {
        model->owner[page] = 0;
        model->stale[page] = true;
    }
    *freed = (struct model_buffer){NULL, 0};
}

static void model_look(const struct model *model)
{
    size_t page = (size_t)(rand() % SPACE_PAGES);
    size_t inside = (size_t)(rand() % PAGE);
    size_t length = (size_t)(rand() % (2 * SLOT_PAGES * PAGE)) + 1;
    size_t slot = model_slot(model, page);
    size_t end = page;

    while (end < SPACE_PAGES && model_slot(model, end) == slot)
        end++;
    end = end == SPACE_PAGES ? SIZE_MAX : (end - page) * PAGE - inside;
    if (length < end)
        end = length;
    if (slot == SLOTS)
        check_foreign(page_at(page) + inside, length, end);
    else
        check_found(page_at(page) + inside, length, end, (uint32_t)slot,
                    (page % SLOT_PAGES) * PAGE + inside);
}

/* An arena comes, or one of which nothing is in use goes. */
static void model_change(struct model *model)
{
    size_t slot = (size_t)(rand() % SLOTS);

    if (model->arena_pages[slot] == 0) {
        model->arena_pages[slot] =
            rand() % 3 == 0 ? SLOT_PAGES : (uint32_t)(rand() % SLOT_PAGES) + 1;
        add((uint32_t)slot, slot * SLOT_PAGES, model->arena_pages[slot]);
        return;
    }
    for (uint32_t i = 0; i < set.count; i++) {
        if (set.arenas[i].base != page_at(slot * SLOT_PAGES) || set.arenas[i].used_pages > 0)
            continue;
        arena_remove(&set, &set.arenas[i]);
        model->arena_pages[slot] = 0;
        for (size_t page = 0; page < SLOT_PAGES; page++)
            model->stale[slot * SLOT_PAGES + page] = false;
    }
}

static void model_check_counts(const struct model *model)
{
    for (uint32_t i = 0; i < set.count; i++) {
        uint32_t used = 0;

        for (uint32_t page = 0; page < set.arenas[i].pages; page++)
            used += model->owner[set.arenas[i].number * SLOT_PAGES + page] != 0;
        ck_assert_uint_eq(set.arenas[i].used_pages, set.arenas[i].base != NULL ? used : 0);
    }
}

START_TEST(model_agrees)
{
    static struct model model;

    srand((unsigned int)_i + 1);
    for (int step = 0; step < 40000; step++) {
        size_t buffer = (size_t)(rand() % MODEL_BUFFERS);

        /* Times in which it fills up, and in which it empties. */
        if (model.buffers[buffer].pointer == NULL) {
            if (step / 500 % 2 == 0 || rand() % 4 == 0)
                model_alloc(&model, buffer);
        } else if (step / 500 % 2 == 1 || rand() % 4 == 0) {
            model_free(&model, buffer);
        }
        model_look(&model);
        if (rand() % 32 == 0) {
            model_change(&model);
            model_check_counts(&model);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_arena");
    TCase *tests = tcase_create("pages");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_set_without_arenas_has_nothing);
    tcase_add_test(tests, sizes_are_rounded_up_to_pages);
    tcase_add_test(tests, every_page_can_be_had_and_no_more);
    tcase_add_test(tests, pages_must_be_next_to_each_other_in_one_arena);
    tcase_add_test(tests, freeing_what_was_never_given_does_nothing);
    tcase_add_test(tests, only_what_was_in_use_before_is_stale);
    tcase_add_test(tests, lookups_end_where_an_arena_does);
    tcase_add_test(tests, foreign_memory_ends_where_the_next_arena_begins);
    tcase_add_test(tests, neighbours_stay_two_arenas);
    tcase_add_test(tests, places_are_used_again);
    tcase_add_test(tests, deinit_unmaps_each_arena_once);
    tcase_add_loop_test(tests, model_agrees, 0, 4);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
