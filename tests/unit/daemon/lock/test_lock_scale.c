/* SPDX-License-Identifier: MIT */
/*
 * Locks by the ten thousand, and transfers asked for on other threads. Time is not measured: steps
 * are counted.
 */
#include "daemon/lock/lock.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/unit/suite.h"

enum { MANY = 10000, GRANULE = 4096, CHAIN = 500, STEPS_EACH = 32 };

struct client {
    struct lock_party party;
    struct lock_owner owner, other_owner;
    struct lock lock, other_lock;
};

static struct lock_space space;
static struct lock_table table, other_table;
static struct client clients[MANY];
static struct client first;
static struct lock_list woken;

static void client_init(struct client *client)
{
    *client = (struct client){0};
    lock_party_init(&client->party);
    lock_owner_init(&client->owner, &client->party);
    lock_owner_init(&client->other_owner, &client->party);
}

static void setup(void)
{
    srand(1);
    lock_space_init(&space);
    lock_table_init(&table, &space);
    lock_table_init(&other_table, &space);
    client_init(&first);
    for (int i = 0; i < MANY; i++)
        client_init(&clients[i]);
    TAILQ_INIT(&woken);
}

static struct lock_range own_range(int i)
{
    uint64_t first_byte = (uint64_t)i * GRANULE;

    return (struct lock_range){first_byte, first_byte + GRANULE - 1};
}

static enum lock_verdict ask(struct client *client, struct lock_range range, enum lock_mode mode)
{
    return lock_request(&table, &client->lock, &client->owner, range, mode, false, true, NULL);
}

static void take(struct client *client, struct lock_range range)
{
    ck_assert_int_eq(ask(client, range, LOCK_EXCLUSIVE), LOCK_GRANTED);
    lock_hold(&client->lock);
}

static void shuffle(int order[MANY])
{
    for (int i = 0; i < MANY; i++)
        order[i] = i;
    for (int i = MANY - 1; i > 0; i--) {
        int j = rand() % (i + 1), swapped = order[i];

        order[i] = order[j];
        order[j] = swapped;
    }
}

static void assert_steps(uint64_t most)
{
    ck_assert_uint_gt(space.steps, 0);
    ck_assert_uint_lt(space.steps, most);
}

static void assert_served_in_order(struct lock_range range)
{
    bool in_order = true;

    take(&first, range);
    for (int i = 0; i < MANY; i++)
        in_order = in_order && ask(&clients[i], range, LOCK_EXCLUSIVE) == LOCK_QUEUED;
    ck_assert_uint_eq(lock_queue_position(&clients[MANY - 1].lock), MANY - 1);
    lock_release(&first.lock, &woken);
    for (int i = 0; i < MANY; i++) {
        in_order = in_order && TAILQ_FIRST(&woken) == &clients[i].lock &&
                   TAILQ_NEXT(&clients[i].lock, result_link) == NULL;
        TAILQ_INIT(&woken);
        lock_hold(&clients[i].lock);
        lock_release(&clients[i].lock, &woken);
    }
    ck_assert(in_order);
    ck_assert(TAILQ_EMPTY(&woken));
    assert_steps(MANY * STEPS_EACH);
}

START_TEST(ten_thousand_writers_of_a_device_are_served_in_order)
{
    assert_served_in_order(LOCK_WHOLE);
}
END_TEST

START_TEST(ten_thousand_writers_of_a_range_are_served_in_order)
{
    assert_served_in_order(own_range(3));
}
END_TEST

/* Each has something, so that it could be waited for. */
START_TEST(ten_thousand_waiters_with_possessions_are_served_in_order)
{
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(lock_request(&other_table, &clients[i].other_lock, &clients[i].other_owner,
                                      own_range(i), LOCK_EXCLUSIVE, false, false, NULL),
                         LOCK_GRANTED);
    assert_served_in_order(LOCK_WHOLE);
}
END_TEST

/* The one that all wait for asks for something else itself: each of them is looked at, once. */
START_TEST(deadlock_is_found_behind_ten_thousand_waiters)
{
    struct lock_range last = own_range(MANY - 1);
    struct client *victim = &clients[MANY - 1];

    take(&first, own_range(0));
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(ask(&clients[i], own_range(0), LOCK_EXCLUSIVE), LOCK_QUEUED);
    ck_assert_int_eq(lock_request(&other_table, &victim->other_lock, &victim->other_owner, last,
                                  LOCK_EXCLUSIVE, false, false, NULL),
                     LOCK_GRANTED);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(lock_request(&other_table, &first.other_lock, &first.other_owner, last,
                                      LOCK_SHARED, false, true, NULL),
                         LOCK_DEADLOCK);
    assert_steps(100 * MANY * STEPS_EACH);
    lock_cancel(&victim->lock, &woken);
    ck_assert_int_eq(lock_request(&other_table, &first.other_lock, &first.other_owner, last,
                                  LOCK_SHARED, false, true, NULL),
                     LOCK_QUEUED);
}
END_TEST

START_TEST(circle_of_many_parties_is_found)
{
    static struct lock_table ring[CHAIN];

    for (int i = 0; i < CHAIN; i++) {
        lock_table_init(&ring[i], &space);
        ck_assert_int_eq(lock_request(&ring[i], &clients[i].lock, &clients[i].owner, LOCK_WHOLE,
                                      LOCK_EXCLUSIVE, false, false, NULL),
                         LOCK_GRANTED);
    }
    for (int i = 0; i < CHAIN; i++)
        ck_assert_int_eq(lock_request(&ring[(i + 1) % CHAIN], &clients[i].other_lock,
                                      &clients[i].other_owner, LOCK_WHOLE, LOCK_SHARED, false, true,
                                      NULL),
                         i < CHAIN - 1 ? LOCK_QUEUED : LOCK_DEADLOCK);
}
END_TEST

START_TEST(waiters_of_ten_thousand_ranges_are_let_in_together)
{
    const struct lock *next;
    int count = 0;

    take(&first, LOCK_WHOLE);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(ask(&clients[i], own_range(i), LOCK_EXCLUSIVE), LOCK_QUEUED);
    lock_downgrade(&first.lock, &woken);
    ck_assert(TAILQ_EMPTY(&woken));
    lock_release(&first.lock, &woken);
    TAILQ_FOREACH (next, &woken, result_link) {
        if (next == &clients[count].lock)
            count++;
    }
    ck_assert_int_eq(count, MANY);
    assert_steps(MANY * STEPS_EACH);
}
END_TEST

START_TEST(reader_elsewhere_passes_ten_thousand_waiting_writers)
{
    uint64_t steps;

    ck_assert_int_eq(ask(&first, LOCK_WHOLE, LOCK_SHARED), LOCK_GRANTED);
    for (int i = 1; i < MANY; i++)
        ck_assert_int_eq(ask(&clients[i], own_range(i), LOCK_EXCLUSIVE), LOCK_QUEUED);
    steps = space.steps;
    ck_assert_int_eq(ask(&clients[0], own_range(MANY), LOCK_SHARED), LOCK_GRANTED);
    lock_release(&clients[0].lock, &woken);
    ck_assert_int_eq(ask(&clients[0], own_range(0), LOCK_SHARED), LOCK_GRANTED);
    ck_assert_uint_lt(space.steps - steps, MANY / 10);
}
END_TEST

/* Taken and let go of in any order, among locks of one owner that overlap all of them. */
START_TEST(gate_tells_ten_thousand_ranges_apart)
{
    static int order[MANY];
    static struct lock own[MANY];
    bool right = true;

    shuffle(order);
    for (int i = 0; i < MANY; i++) {
        take(&clients[order[i]], own_range(order[i]));
        ck_assert_int_eq(lock_request(&other_table, &own[i], &first.owner, LOCK_WHOLE,
                                      LOCK_EXCLUSIVE, true, false, NULL),
                         LOCK_GRANTED);
        lock_hold(&own[i]);
    }
    shuffle(order);
    for (int i = 0; i < MANY; i++) {
        struct client *client = &clients[order[i]];
        struct lock_range range = own_range(order[i]);
        const struct lock *blocker = NULL;

        right = right && lock_may_change(&table, &client->owner, range, NULL) == 0 &&
                lock_may_change(&table, &first.owner, range, &blocker) == -EBUSY &&
                blocker == &client->lock &&
                lock_may_change(&other_table, &first.owner, range, NULL) == 0 &&
                lock_may_read(&other_table, &first.owner, range, NULL) == 0 &&
                lock_may_read(&other_table, &client->owner, range, NULL) == -EBUSY;
        lock_release(&client->lock, &woken);
        right = right && lock_may_change(&table, &first.owner, range, NULL) == 0;
    }
    ck_assert(right);
    ck_assert_int_eq(lock_table_held(&table), LOCK_NONE);
}
END_TEST

/* A worker that transfers: holds its device's mutex and nothing else. */
struct transfers {
    pthread_mutex_t mutex;
    struct lock_table *table;
    struct lock_owner *owner;
    atomic_int passed, refused;
    atomic_bool stop;
};

static void *run_transfers(void *context)
{
    struct transfers *transfers = context;

    while (!atomic_load(&transfers->stop)) {
        const struct lock *blocker = NULL;
        int answer;

        pthread_mutex_lock(&transfers->mutex);
        answer = lock_may_change(transfers->table, transfers->owner, own_range(1), &blocker);
        if (answer == -EBUSY && blocker != NULL && blocker->owner == transfers->owner)
            abort();
        answer |= lock_may_read(transfers->table, transfers->owner, own_range(1), NULL);
        (void)lock_table_held(transfers->table);
        pthread_mutex_unlock(&transfers->mutex);
        atomic_fetch_add(answer == 0 ? &transfers->passed : &transfers->refused, 1);
    }
    return NULL;
}

static void both_mutexes(struct transfers transfers[2], int (*call)(pthread_mutex_t *))
{
    call(&transfers[0].mutex);
    call(&transfers[1].mutex);
}

/* One lock's life; everything but GATE calls under the space's mutex alone, which only we use. */
static void live(struct client *client, struct transfers transfers[2], bool isolates)
{
    struct lock_range range = own_range(rand() % 3);

    if (lock_request(&table, &client->lock, &client->owner, range,
                     isolates ? LOCK_EXCLUSIVE : LOCK_SHARED, isolates, true, NULL) != LOCK_GRANTED)
        return;
    both_mutexes(transfers, pthread_mutex_lock);
    lock_hold(&client->lock);
    both_mutexes(transfers, pthread_mutex_unlock);
    if (client->lock.held == LOCK_SHARED &&
        lock_upgrade(&client->lock, true, false, NULL) == LOCK_GRANTED)
        lock_cancel(&client->lock, &woken);
}

static void end(struct client *client, struct transfers transfers[2])
{
    if (client->lock.phase == LOCK_SETTLED && client->lock.held == LOCK_NONE)
        return;
    if (client->lock.phase != LOCK_SETTLED && rand() % 2 == 0) {
        lock_cancel(&client->lock, &woken);
        return;
    }
    both_mutexes(transfers, pthread_mutex_lock);
    lock_release(&client->lock, &woken);
    both_mutexes(transfers, pthread_mutex_unlock);
}

START_TEST(transfers_need_only_the_mutex_of_their_device)
{
    struct transfers transfers[2] = {
        {.mutex = PTHREAD_MUTEX_INITIALIZER, .table = &table, .owner = &first.owner},
        {.mutex = PTHREAD_MUTEX_INITIALIZER, .table = &other_table, .owner = &first.other_owner},
    };
    pthread_t threads[2];
    bool seen_all = false;

    ck_assert_int_eq(lock_relate(&table, &other_table), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_transfers, &transfers[i]), 0);
    for (int step = 0; step < 5000 || !seen_all; step++) {
        struct client *client = &clients[rand() % 8];

        TAILQ_INIT(&woken);
        end(client, transfers);
        live(client, transfers, rand() % 2 == 0);
        seen_all = true;
        for (int i = 0; i < 2; i++)
            seen_all = seen_all && transfers[i].passed > 0 && transfers[i].refused > 0;
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&transfers[i].stop, true);
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock_scale");
    TCase *scale = tcase_create("scale");

    tcase_add_checked_fixture(scale, setup, NULL);
    tcase_set_timeout(scale, 60);
    tcase_add_test(scale, ten_thousand_writers_of_a_device_are_served_in_order);
    tcase_add_test(scale, ten_thousand_writers_of_a_range_are_served_in_order);
    tcase_add_test(scale, ten_thousand_waiters_with_possessions_are_served_in_order);
    tcase_add_test(scale, deadlock_is_found_behind_ten_thousand_waiters);
    tcase_add_test(scale, circle_of_many_parties_is_found);
    tcase_add_test(scale, waiters_of_ten_thousand_ranges_are_let_in_together);
    tcase_add_test(scale, reader_elsewhere_passes_ten_thousand_waiting_writers);
    tcase_add_test(scale, gate_tells_ten_thousand_ranges_apart);
    tcase_add_test(scale, transfers_need_only_the_mutex_of_their_device);
    suite_add_tcase(suite, scale);
    return suite_run(suite);
}
