/* SPDX-License-Identifier: MIT */
/*
 * The sync ledger: first each rule by itself, then random steps beside a model that keeps a list of
 * all acknowledged changes and of all syncs as intervals of time, and knows no counters.
 */
#include "daemon/sync.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct fixture {
    struct sync_ledger ledger;
    struct sync_waiter a, b, c, d;
    struct sync_waiter_list answered;
};

static struct fixture f;

static void setup(void)
{
    sync_init(&f.ledger);
    TAILQ_INIT(&f.answered);
}

/* A device of which everything is on stable storage. */
static void setup_clean(void)
{
    setup();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    ck_assert(!sync_unsynced(&f.ledger));
    f.ledger.issued = 0;
    TAILQ_INIT(&f.answered);
}

static void expect_answered(const struct sync_waiter *first, const struct sync_waiter *second,
                            const struct sync_waiter *third)
{
    const struct sync_waiter *expected[] = {first, second, third};
    const struct sync_waiter *waiter = TAILQ_FIRST(&f.answered);

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]) && expected[i] != NULL; i++) {
        ck_assert_ptr_eq(waiter, expected[i]);
        waiter = TAILQ_NEXT(waiter, link);
    }
    ck_assert_ptr_null(waiter);
    TAILQ_INIT(&f.answered);
}

START_TEST(a_device_is_born_unsynced)
{
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.a, NULL, NULL);
    ck_assert(!sync_unsynced(&f.ledger));
}
END_TEST

START_TEST(a_flush_with_nothing_to_flush_is_done_at_once)
{
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_DONE);
    ck_assert_uint_eq(f.ledger.elided, 1);
    ck_assert_uint_eq(f.ledger.issued, 0);
    ck_assert(!f.ledger.running);
}
END_TEST

START_TEST(a_change_makes_the_next_flush_sync)
{
    sync_changed(&f.ledger);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert_uint_eq(f.ledger.issued, 1);
}
END_TEST

START_TEST(a_flush_joins_the_running_sync_if_nothing_changed_since_it_began)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.a, &f.b, NULL);
    ck_assert_uint_eq(f.ledger.issued, 1);
    ck_assert_uint_eq(f.ledger.shared, 1);
}
END_TEST

START_TEST(a_flush_after_a_later_change_waits_for_the_next_sync)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.a, NULL, NULL);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.b, NULL, NULL);
    ck_assert(!sync_unsynced(&f.ledger));
    ck_assert_uint_eq(f.ledger.issued, 2);
    ck_assert_uint_eq(f.ledger.shared, 0);
}
END_TEST

START_TEST(flushes_that_wait_share_one_next_sync)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.c), SYNC_WAIT);
    ck_assert(sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.a, NULL, NULL);
    /* Nothing changed since the second sync began: one more may join it. */
    ck_assert_int_eq(sync_flush(&f.ledger, &f.d), SYNC_WAIT);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.b, &f.c, &f.d);
    ck_assert_uint_eq(f.ledger.issued, 2);
    ck_assert_uint_eq(f.ledger.shared, 2);
    ck_assert_uint_eq(f.ledger.elided, 0);
}
END_TEST

START_TEST(a_change_during_a_sync_stays_unsynced)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_changed(&f.ledger);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_START);
}
END_TEST

START_TEST(answers_are_added_to_the_end_of_the_list)
{
    TAILQ_INSERT_TAIL(&f.answered, &f.d, link);
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.d, &f.a, NULL);
}
END_TEST

START_TEST(a_failed_sync_fails_all_who_wait_and_the_device)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.c), SYNC_WAIT);
    ck_assert(!sync_completed(&f.ledger, -ENOSPC, &f.answered));
    expect_answered(&f.a, &f.b, &f.c);
    ck_assert_int_eq(f.ledger.failed, -ENOSPC);
    ck_assert(!f.ledger.running);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.d), SYNC_FAILED);
    ck_assert(sync_unsynced(&f.ledger));
}
END_TEST

START_TEST(a_failed_device_refuses_a_flush_that_has_nothing_to_flush)
{
    sync_fail(&f.ledger, -EIO);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_FAILED);
    ck_assert_uint_eq(f.ledger.elided, 0);
}
END_TEST

START_TEST(the_first_error_stays)
{
    sync_fail(&f.ledger, -EIO);
    sync_fail(&f.ledger, -ENOSPC);
    ck_assert_int_eq(f.ledger.failed, -EIO);
}
END_TEST

START_TEST(a_failure_while_a_sync_runs_fails_all_who_wait_though_it_succeeds)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    sync_fail(&f.ledger, -EIO);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.a, &f.b, NULL);
    ck_assert_int_eq(f.ledger.failed, -EIO);
    ck_assert(sync_unsynced(&f.ledger));
}
END_TEST

START_TEST(a_durable_change_on_a_clean_device_leaves_it_clean)
{
    sync_changed_durably(&f.ledger);
    ck_assert(!sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_DONE);
}
END_TEST

START_TEST(a_durable_change_does_not_hide_an_earlier_one)
{
    sync_changed(&f.ledger);
    sync_changed_durably(&f.ledger);
    ck_assert(sync_unsynced(&f.ledger));
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
}
END_TEST

START_TEST(a_durable_change_during_a_sync_does_not_end_it)
{
    sync_changed(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    sync_changed_durably(&f.ledger);
    ck_assert_int_eq(sync_flush(&f.ledger, &f.b), SYNC_WAIT);
    ck_assert(sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.a, NULL, NULL);
    ck_assert(!sync_completed(&f.ledger, 0, &f.answered));
    expect_answered(&f.b, NULL, NULL);
}
END_TEST

START_TEST(a_durable_change_on_a_failed_device_counts_for_nothing)
{
    sync_fail(&f.ledger, -EIO);
    sync_changed_durably(&f.ledger);
    ck_assert(sync_unsynced(&f.ledger));
}
END_TEST

#ifndef NDEBUG
/* Uses that only a mistake of ours could make stop the daemon. */
START_TEST(an_end_without_a_sync_aborts)
{
    (void)sync_completed(&f.ledger, 0, &f.answered);
}
END_TEST

START_TEST(a_failure_without_an_error_aborts)
{
    sync_fail(&f.ledger, 0);
}
END_TEST
#endif

/*
 * The model. Time is the number of the step. Of each change it knows when it was acknowledged and
 * whether it was durable by itself; of each sync from when to when it ran and how it ended. What
 * follows is worked out from these lists each time.
 */
enum { STEPS = 100000, EPISODE = 200 };

struct change {
    unsigned int at;
    bool durable_alone;
};

struct interval {
    unsigned int from;
    bool ended, succeeded;
};

struct flush {
    struct sync_waiter waiter; /* first: the ledger gives this back */
    unsigned int at;
    bool waits;
};

struct model {
    unsigned int now;
    struct change changes[EPISODE + 1];
    struct interval syncs[EPISODE];
    struct flush flushes[EPISODE];
    size_t change_count, sync_count, flush_count, flushes_refused;
    int failed;
};

static bool change_is_safe(const struct model *model, const struct change *change)
{
    for (size_t i = 0; i < model->sync_count; i++) {
        const struct interval *sync = &model->syncs[i];

        if (sync->succeeded && sync->from > change->at)
            return true;
    }
    return change->durable_alone;
}

/* Whether all changes that were acknowledged before `time` are on stable storage. */
static bool all_safe_before(const struct model *model, unsigned int time)
{
    for (size_t i = 0; i < model->change_count; i++)
        if (model->changes[i].at < time && !change_is_safe(model, &model->changes[i]))
            return false;
    return true;
}

static bool sync_runs(const struct model *model)
{
    return model->sync_count > 0 && !model->syncs[model->sync_count - 1].ended;
}

static void model_start(struct model *model)
{
    model->syncs[model->sync_count++] = (struct interval){.from = ++model->now};
}

static size_t waiting(const struct model *model)
{
    size_t count = 0;

    for (size_t i = 0; i < model->flush_count; i++)
        count += model->flushes[i].waits;
    return count;
}

static void step_change(struct model *model)
{
    bool durably = rand() % 3 == 0;
    /* A durable change after an unsafe one is forgotten to be durable: the ledger may do a sync too
     * many (it counts, it keeps no list), never one too few. */
    bool known = durably && model->failed == 0 && all_safe_before(model, model->now);

    if (durably)
        sync_changed_durably(&f.ledger);
    else
        sync_changed(&f.ledger);
    model->changes[model->change_count++] = (struct change){model->now, known};
}

static void step_flush(struct model *model)
{
    struct flush *flush = &model->flushes[model->flush_count++];
    enum sync_verdict verdict = sync_flush(&f.ledger, &flush->waiter);

    flush->at = model->now;
    if (model->failed != 0) {
        ck_assert_int_eq(verdict, SYNC_FAILED);
        model->flushes_refused++;
    } else if (all_safe_before(model, model->now)) {
        ck_assert_int_eq(verdict, SYNC_DONE);
    } else {
        ck_assert_int_eq(verdict, sync_runs(model) ? SYNC_WAIT : SYNC_START);
        flush->waits = true;
        if (verdict == SYNC_START)
            model_start(model);
    }
}

/* Exactly those flushes are answered whose changes are safe now, or all of a failed device. */
static void check_answers(struct model *model, struct sync_waiter_list *answered)
{
    struct sync_waiter *waiter;

    TAILQ_FOREACH (waiter, answered, link) {
        struct flush *flush = (struct flush *)waiter;

        ck_assert(flush->waits);
        ck_assert(model->failed != 0 || all_safe_before(model, flush->at));
        flush->waits = false;
        model->flushes_refused += model->failed != 0;
    }
    for (size_t i = 0; i < model->flush_count; i++) {
        const struct flush *flush = &model->flushes[i];

        ck_assert_msg(!flush->waits || (model->failed == 0 && !all_safe_before(model, flush->at)),
                      "a flush waits for nothing");
    }
}

static void step_end(struct model *model)
{
    int result = rand() % 60 == 0 ? -EIO : 0;
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);
    struct interval *sync = &model->syncs[model->sync_count - 1];
    bool again = sync_completed(&f.ledger, result, &answered);

    if (result < 0 && model->failed == 0)
        model->failed = result;
    sync->ended = true;
    sync->succeeded = model->failed == 0;
    check_answers(model, &answered);
    ck_assert_int_eq(again, waiting(model) > 0);
    if (again)
        model_start(model);
}

static void random_step(struct model *model)
{
    int dice = rand() % 1000;

    model->now++;
    if (dice < 300) {
        step_change(model);
    } else if (dice < 700) {
        step_flush(model);
    } else if (dice < 998) {
        if (sync_runs(model))
            step_end(model);
    } else {
        sync_fail(&f.ledger, -ENXIO);
        if (model->failed == 0)
            model->failed = -ENXIO;
    }
    ck_assert_int_eq(f.ledger.running, sync_runs(model));
    ck_assert_int_eq(f.ledger.failed, model->failed);
    ck_assert_int_eq(sync_unsynced(&f.ledger), !all_safe_before(model, model->now + 1));
}

static void check_counters(const struct model *model)
{
    uint64_t counted = f.ledger.issued + f.ledger.shared + f.ledger.elided;

    ck_assert_uint_eq(f.ledger.issued, model->sync_count);
    if (model->failed == 0 && waiting(model) == 0)
        ck_assert_uint_eq(counted + model->flushes_refused, model->flush_count);
}

START_TEST(random_steps_agree_with_the_model)
{
    static struct model model;

    srand(1);
    for (unsigned int step = 0; step < STEPS; step += EPISODE) {
        setup();
        model = (struct model){.change_count = 1}; /* born unsynced: a change at time 0 */
        for (unsigned int i = 0; i < EPISODE; i++)
            random_step(&model);
        check_counters(&model);
    }
}
END_TEST

static TCase *rules_of_a_new_device(void)
{
    TCase *rules = tcase_create("new");

    tcase_add_checked_fixture(rules, setup, NULL);
    tcase_add_test(rules, a_device_is_born_unsynced);
#ifndef NDEBUG
    tcase_add_test_raise_signal(rules, an_end_without_a_sync_aborts, SIGABRT);
    tcase_add_test_raise_signal(rules, a_failure_without_an_error_aborts, SIGABRT);
#endif
    return rules;
}

static TCase *rules_of_a_clean_device(void)
{
    TCase *rules = tcase_create("clean");

    tcase_add_checked_fixture(rules, setup_clean, NULL);
    tcase_add_test(rules, a_flush_with_nothing_to_flush_is_done_at_once);
    tcase_add_test(rules, a_change_makes_the_next_flush_sync);
    tcase_add_test(rules, a_flush_joins_the_running_sync_if_nothing_changed_since_it_began);
    tcase_add_test(rules, a_flush_after_a_later_change_waits_for_the_next_sync);
    tcase_add_test(rules, flushes_that_wait_share_one_next_sync);
    tcase_add_test(rules, a_change_during_a_sync_stays_unsynced);
    tcase_add_test(rules, answers_are_added_to_the_end_of_the_list);
    tcase_add_test(rules, a_failed_sync_fails_all_who_wait_and_the_device);
    tcase_add_test(rules, a_failed_device_refuses_a_flush_that_has_nothing_to_flush);
    tcase_add_test(rules, the_first_error_stays);
    tcase_add_test(rules, a_failure_while_a_sync_runs_fails_all_who_wait_though_it_succeeds);
    tcase_add_test(rules, a_durable_change_on_a_clean_device_leaves_it_clean);
    tcase_add_test(rules, a_durable_change_does_not_hide_an_earlier_one);
    tcase_add_test(rules, a_durable_change_during_a_sync_does_not_end_it);
    tcase_add_test(rules, a_durable_change_on_a_failed_device_counts_for_nothing);
    return rules;
}

int main(void)
{
    Suite *suite = suite_create("sync");
    TCase *model = tcase_create("model");
    SRunner *runner;
    int failed;

    tcase_set_timeout(model, 60);
    tcase_add_test(model, random_steps_agree_with_the_model);
    suite_add_tcase(suite, rules_of_a_new_device());
    suite_add_tcase(suite, rules_of_a_clean_device());
    suite_add_tcase(suite, model);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
