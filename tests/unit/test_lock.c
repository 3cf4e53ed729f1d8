/* SPDX-License-Identifier: MIT */
/*
 * The lock table: first each rule by itself, then random steps beside a model that is only an array
 * of who holds what and asks every pair.
 */
#include "daemon/lock.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct fixture {
    struct lock_table table;
    struct lock_owner a, b, c;
};

static struct fixture f;

static void setup(void)
{
    lock_table_init(&f.table);
    lock_owner_init(&f.a);
    lock_owner_init(&f.b);
    lock_owner_init(&f.c);
}

START_TEST(nothing_is_held_at_first)
{
    const struct lock_owner *holder = &f.c;

    ck_assert_int_eq(lock_table_mode(&f.table), LOCK_NONE);
    ck_assert_int_eq(lock_may_write(&f.table, &f.a, &holder), 0);
    ck_assert_ptr_eq(holder, &f.c);
    lock_release(&f.table, &f.a);
    ck_assert_int_eq(f.a.mode, LOCK_NONE);
}
END_TEST

START_TEST(exclusive_keeps_every_other_out)
{
    const struct lock_owner *holder = &f.c;

    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_EXCLUSIVE, &holder), 0);
    ck_assert_ptr_eq(holder, &f.c);
    ck_assert_int_eq(lock_table_mode(&f.table), LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_try(&f.table, &f.b, LOCK_EXCLUSIVE, &holder), -EBUSY);
    ck_assert_ptr_eq(holder, &f.a);
    ck_assert_int_eq(f.b.mode, LOCK_NONE);
    ck_assert_int_eq(lock_try(&f.table, &f.b, LOCK_SHARED, NULL), -EBUSY);
    ck_assert_int_eq(f.b.mode, LOCK_NONE);
}
END_TEST

START_TEST(only_the_exclusive_holder_writes)
{
    const struct lock_owner *holder = NULL;

    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_EXCLUSIVE, NULL), 0);
    ck_assert_int_eq(lock_may_write(&f.table, &f.a, NULL), 0);
    ck_assert_int_eq(lock_may_write(&f.table, &f.b, &holder), -EBUSY);
    ck_assert_ptr_eq(holder, &f.a);
    ck_assert_int_eq(lock_may_write(&f.table, &f.c, NULL), -EBUSY);
}
END_TEST

START_TEST(shared_holders_stand_beside_each_other)
{
    const struct lock_owner *holder = NULL;

    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_SHARED, NULL), 0);
    ck_assert_int_eq(lock_try(&f.table, &f.b, LOCK_SHARED, NULL), 0);
    ck_assert_int_eq(lock_table_mode(&f.table), LOCK_SHARED);
    ck_assert_int_eq(lock_try(&f.table, &f.c, LOCK_EXCLUSIVE, &holder), -EBUSY);
    ck_assert_ptr_eq(holder, &f.a);
}
END_TEST

START_TEST(shared_holder_writes_only_while_it_is_alone)
{
    const struct lock_owner *holder = NULL;

    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_SHARED, NULL), 0);
    ck_assert_int_eq(lock_may_write(&f.table, &f.a, NULL), 0);
    ck_assert_int_eq(lock_try(&f.table, &f.b, LOCK_SHARED, NULL), 0);
    ck_assert_int_eq(lock_may_write(&f.table, &f.a, &holder), -EBUSY);
    ck_assert_ptr_eq(holder, &f.b);
    ck_assert_int_eq(lock_may_write(&f.table, &f.b, &holder), -EBUSY);
    ck_assert_ptr_eq(holder, &f.a);
    lock_release(&f.table, &f.b);
    ck_assert_int_eq(lock_may_write(&f.table, &f.a, NULL), 0);
}
END_TEST

START_TEST(session_without_a_lock_does_not_write_beside_a_shared_one)
{
    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_SHARED, NULL), 0);
    ck_assert_int_eq(lock_may_write(&f.table, &f.b, NULL), -EBUSY);
    lock_release(&f.table, &f.a);
    ck_assert_int_eq(lock_may_write(&f.table, &f.b, NULL), 0);
}
END_TEST

START_TEST(release_lets_the_next_one_in)
{
    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_EXCLUSIVE, NULL), 0);
    lock_release(&f.table, &f.a);
    ck_assert_int_eq(f.a.mode, LOCK_NONE);
    ck_assert_int_eq(lock_table_mode(&f.table), LOCK_NONE);
    ck_assert_int_eq(lock_try(&f.table, &f.b, LOCK_SHARED, NULL), 0);
    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_SHARED, NULL), 0);
}
END_TEST

START_TEST(release_by_one_who_was_refused_takes_nothing_from_the_holder)
{
    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_EXCLUSIVE, NULL), 0);
    ck_assert_int_eq(lock_try(&f.table, &f.b, LOCK_EXCLUSIVE, NULL), -EBUSY);
    lock_release(&f.table, &f.b);
    ck_assert_int_eq(lock_table_mode(&f.table), LOCK_EXCLUSIVE);
    ck_assert_int_eq(lock_may_write(&f.table, &f.b, NULL), -EBUSY);
}
END_TEST

START_TEST(modes_have_names)
{
    ck_assert_str_eq(lock_mode_name(LOCK_NONE), "none");
    ck_assert_str_eq(lock_mode_name(LOCK_SHARED), "shared");
    ck_assert_str_eq(lock_mode_name(LOCK_EXCLUSIVE), "exclusive");
    ck_assert_str_eq(lock_mode_name((enum lock_mode)3), "unknown");
}
END_TEST

#ifndef NDEBUG
/* A use that only a mistake of ours could make stops the daemon. */
START_TEST(taking_a_second_lock_aborts)
{
    ck_assert_int_eq(lock_try(&f.table, &f.a, LOCK_SHARED, NULL), 0);
    (void)lock_try(&f.table, &f.a, LOCK_SHARED, NULL);
}
END_TEST

START_TEST(taking_no_lock_aborts)
{
    (void)lock_try(&f.table, &f.a, LOCK_NONE, NULL);
}
END_TEST
#endif

enum { OWNERS = 6, STEPS = 100000 };

struct model {
    enum lock_mode held[OWNERS];
    unsigned int since[OWNERS]; /* step of the grant */
};

/* The other holder of longest standing that conflicts with `mode` taken by `self`; -1: none. */
static int model_conflict(const struct model *model, int self, enum lock_mode mode)
{
    int found = -1;

    for (int i = 0; i < OWNERS; i++) {
        bool conflict = i != self && model->held[i] != LOCK_NONE &&
                        !(mode == LOCK_SHARED && model->held[i] == LOCK_SHARED);
        if (conflict && (found < 0 || model->since[i] < model->since[found]))
            found = i;
    }
    return found;
}

static enum lock_mode model_strongest(const struct model *model)
{
    enum lock_mode strongest = LOCK_NONE;

    for (int i = 0; i < OWNERS; i++)
        if (model->held[i] > strongest)
            strongest = model->held[i];
    return strongest;
}

static bool is_answer(int answer, const struct lock_owner *holder, const struct lock_owner *owners,
                      int expected_holder)
{
    if (expected_holder < 0)
        return answer == 0 && holder == NULL;
    return answer == -EBUSY && holder == &owners[expected_holder];
}

static void random_step(struct model *model, struct lock_owner *owners, unsigned int step)
{
    int self = rand() % OWNERS;
    const struct lock_owner *holder = NULL;
    enum lock_mode mode = rand() % 4 == 0 ? LOCK_EXCLUSIVE : LOCK_SHARED;
    int expected = model_conflict(model, self, mode);
    int answer;

    if (model->held[self] != LOCK_NONE || rand() % 8 == 0) {
        lock_release(&f.table, &owners[self]);
        model->held[self] = LOCK_NONE;
        return;
    }
    answer = lock_try(&f.table, &owners[self], mode, &holder);
    ck_assert(is_answer(answer, holder, owners, expected));
    if (expected < 0) {
        model->held[self] = mode;
        model->since[self] = step;
    }
}

/* One check for all: each costs Check a write to a pipe. */
static bool agrees(const struct model *model, const struct lock_owner *owners)
{
    bool agree = lock_table_mode(&f.table) == model_strongest(model);

    for (int i = 0; i < OWNERS; i++) {
        const struct lock_owner *holder = NULL;
        int answer = lock_may_write(&f.table, &owners[i], &holder);
        int expected = model_conflict(model, i, LOCK_EXCLUSIVE);
        struct model others = *model;

        others.held[i] = LOCK_NONE;
        agree = agree && owners[i].mode == model->held[i] &&
                is_answer(answer, holder, owners, expected) &&
                lock_mode_beside(&f.table, &owners[i]) == model_strongest(&others);
    }
    return agree;
}

START_TEST(random_steps_agree_with_the_model)
{
    struct lock_owner owners[OWNERS];
    struct model model = {0};

    srand(1);
    for (int i = 0; i < OWNERS; i++)
        lock_owner_init(&owners[i]);
    for (unsigned int step = 0; step < STEPS; step++) {
        random_step(&model, owners, step);
        ck_assert_msg(agrees(&model, owners), "the table and the model part at step %u", step);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock");
    TCase *rules = tcase_create("rules");
    TCase *model = tcase_create("model");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(rules, setup, NULL);
    tcase_add_test(rules, nothing_is_held_at_first);
    tcase_add_test(rules, exclusive_keeps_every_other_out);
    tcase_add_test(rules, only_the_exclusive_holder_writes);
    tcase_add_test(rules, shared_holders_stand_beside_each_other);
    tcase_add_test(rules, shared_holder_writes_only_while_it_is_alone);
    tcase_add_test(rules, session_without_a_lock_does_not_write_beside_a_shared_one);
    tcase_add_test(rules, release_lets_the_next_one_in);
    tcase_add_test(rules, release_by_one_who_was_refused_takes_nothing_from_the_holder);
    tcase_add_test(rules, modes_have_names);
#ifndef NDEBUG
    tcase_add_test_raise_signal(rules, taking_a_second_lock_aborts, SIGABRT);
    tcase_add_test_raise_signal(rules, taking_no_lock_aborts, SIGABRT);
#endif
    tcase_add_checked_fixture(model, setup, NULL);
    tcase_set_timeout(model, 60);
    tcase_add_test(model, random_steps_agree_with_the_model);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, model);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
