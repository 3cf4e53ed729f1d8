/* SPDX-License-Identifier: MIT */
/*
 * What tests of single lock rules share. Owners a, b, c are each of a party of their own; a2 is of
 * a's. They are of no device until they ask for a lock on one.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_LOCK_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_LOCK_FIXTURE_H

#include "daemon/lock/lock.h"

#include <check.h>
#include <stdlib.h>

static struct lock_space space;
static struct lock_table table, disk, partition;
static struct lock_party party_a, party_b, party_c;
static struct lock_owner a, a2, b, c, on_disk, on_partition;
static struct lock one, two, three, four, five;
static struct lock_list woken;

static inline void setup(void)
{
    static struct lock *const locks[] = {&one, &two, &three, &four, &five};

    lock_space_init(&space);
    lock_table_init(&table, &space);
    lock_table_init(&disk, &space);
    lock_table_init(&partition, &space);
    lock_party_init(&party_a);
    lock_party_init(&party_b);
    lock_party_init(&party_c);
    lock_owner_init(&a, &party_a);
    lock_owner_init(&a2, &party_a);
    lock_owner_init(&b, &party_b);
    lock_owner_init(&c, &party_c);
    lock_owner_init(&on_disk, &party_a);
    lock_owner_init(&on_partition, &party_b);
    for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++)
        *locks[i] = (struct lock){0};
    TAILQ_INIT(&woken);
}

static inline struct lock_range bytes(uint64_t first, uint64_t last)
{
    return (struct lock_range){first, last};
}

static inline enum lock_verdict ask(struct lock *lock, struct lock_owner *owner,
                                    struct lock_range range, enum lock_mode mode)
{
    return lock_request(&table, lock, owner, range, mode, false, true, NULL);
}

static inline enum lock_verdict ask_on(struct lock_table *on, struct lock *lock,
                                       struct lock_owner *owner, struct lock_range range,
                                       enum lock_mode mode)
{
    return lock_request(on, lock, owner, range, mode, false, true, NULL);
}

static inline void take_on(struct lock_table *on, struct lock *lock, struct lock_owner *owner,
                           struct lock_range range, enum lock_mode mode)
{
    ck_assert_int_eq(ask_on(on, lock, owner, range, mode), LOCK_GRANTED);
    lock_hold(lock);
}

static inline void take(struct lock *lock, struct lock_owner *owner, struct lock_range range,
                        enum lock_mode mode)
{
    take_on(&table, lock, owner, range, mode);
}

static inline void take_isolating(struct lock *lock, struct lock_owner *owner,
                                  struct lock_range range)
{
    ck_assert_int_eq(lock_request(&table, lock, owner, range, LOCK_EXCLUSIVE, true, false, NULL),
                     LOCK_GRANTED);
    lock_hold(lock);
}

/* The call before has reserved just this one (or none). */
static inline void assert_woken(const struct lock *lock)
{
    ck_assert_ptr_eq(TAILQ_FIRST(&woken), lock);
    if (lock != NULL) {
        ck_assert_ptr_null(TAILQ_NEXT(lock, result_link));
        ck_assert_int_eq(lock->phase, LOCK_RESERVED);
    }
    TAILQ_INIT(&woken);
}

static inline int run_rules(const char *name, TCase *rules)
{
    Suite *suite = suite_create(name);
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(rules, setup, NULL);
    suite_add_tcase(suite, rules);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
