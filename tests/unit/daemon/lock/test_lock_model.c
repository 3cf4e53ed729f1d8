/* SPDX-License-Identifier: MIT */
/*
 * Random steps on locks beside the naive model of lock_model.h. After every step all that can be
 * seen must agree: verdicts, what was reserved and in which order, phases, modes, positions, the
 * gate.
 */
#include "tests/unit/daemon/lock/model.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/unit/suite.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { STEPS = 10000 };
#else
enum { STEPS = 100000 };
#endif

enum { BYTES = 16 };

static struct lock_space space;
static struct lock_party parties[MAX_PARTIES];
static struct lock_owner owners[MAX_OWNERS];
static struct lock_table tables[MAX_TABLES];
static struct lock locks[MAX_LOCKS];
static int seen_verdicts[LOCK_DEADLOCK + 1];
static int seen_woken;

/* Reserves what can be and looks whether the table has woken just those, in this order. */
static void model_wake(const struct lock_list *woken)
{
    const struct lock *next = TAILQ_FIRST(woken);

    for (int place = 0; place < model.queue_length; place++) {
        int i = model.queue[place];

        if (blocked(i, place))
            continue;
        queue_take(i);
        model_reserve(i);
        ck_assert_ptr_eq(next, &locks[i]);
        next = TAILQ_NEXT(next, result_link);
        place--;
        seen_woken++;
    }
    ck_assert_ptr_null(next);
}

static struct lock_range random_range(void)
{
    uint64_t first = (uint64_t)(rand() % BYTES);

    if (rand() % 12 == 0)
        return LOCK_WHOLE;
    return (struct lock_range){first, first + (uint64_t)(rand() % 5)};
}

static bool percent(int chance)
{
    return rand() % 100 < chance;
}

/* A refused one was in the way of something: it is there, and of another owner or before in the
 * queue. */
static void check_blocker(int i, const struct model *before, const struct lock *blocker)
{
    long j = blocker - locks;
    const struct model_lock *other;

    ck_assert_int_ge(j, 0);
    ck_assert_int_lt(j, size.locks);
    other = &before->locks[j];
    ck_assert(other->used);
    if (blocked(i, new_place(i)))
        ck_assert(granted_in_way(i, (int)j) ||
                  (other->phase == LOCK_WAITING && queue_place((int)j) < new_place(i) &&
                   clash(&model.locks[i], model.locks[i].wanted, other, other->wanted)));
}

/* `asked` is what the model's lock is if it is not refused. */
static void step_ask(int i, const struct model_lock *asked, bool may_wait)
{
    static struct model before;
    struct lock *blocker = NULL;
    enum lock_verdict verdict, expected;

    before = model;
    model.locks[i] = *asked;
    expected = model_decide(i, may_wait);
    if (asked->held == LOCK_NONE)
        verdict =
            lock_request(&tables[asked->table], &locks[i], &owners[asked->owner], asked->range,
                         asked->wanted, asked->will_isolate, may_wait, &blocker);
    else
        verdict = lock_upgrade(&locks[i], asked->will_isolate, may_wait, &blocker);
    ck_assert_int_eq(verdict, expected);
    seen_verdicts[verdict]++;
    if (verdict == LOCK_GRANTED || verdict == LOCK_QUEUED) {
        ck_assert_ptr_null(blocker);
        return;
    }
    model = before;
    model.locks[i] = *asked;
    check_blocker(i, &before, blocker);
    model = before;
}

static int table_of(int owner)
{
    for (int i = 0; i < size.locks; i++) {
        if (model.locks[i].used && model.locks[i].owner == owner)
            return model.locks[i].table;
    }
    return rand() % size.tables;
}

static void step_request(int i)
{
    int owner = rand() % size.owners;
    bool shared = percent(size.shared_percent);
    struct model_lock asked = {
        .used = true,
        .owner = owner,
        .table = table_of(owner),
        .range = random_range(),
        .wanted = shared ? LOCK_SHARED : LOCK_EXCLUSIVE,
        .will_isolate = !shared && percent(size.isolate_percent),
    };

    step_ask(i, &asked, percent(80));
}

static void step_upgrade(int i)
{
    struct model_lock asked = model.locks[i];

    asked.wanted = LOCK_EXCLUSIVE;
    asked.will_isolate = percent(size.isolate_percent);
    step_ask(i, &asked, percent(80));
}

static void step_hold(int i)
{
    struct model_lock *lock = &model.locks[i];

    lock_hold(&locks[i]);
    lock->held = lock->wanted;
    lock->isolating = lock->will_isolate;
    lock->phase = LOCK_SETTLED;
}

static void model_drop_request(struct model_lock *lock, int i)
{
    if (lock->phase == LOCK_WAITING)
        queue_take(i);
    lock->phase = LOCK_SETTLED;
}

static void step_cancel(int i)
{
    struct lock_list woken = TAILQ_HEAD_INITIALIZER(woken);
    struct model_lock *lock = &model.locks[i];

    model_drop_request(lock, i);
    lock->used = lock->held != LOCK_NONE;
    lock_cancel(&locks[i], &woken);
    model_wake(&woken);
}

static void step_release(int i)
{
    struct lock_list woken = TAILQ_HEAD_INITIALIZER(woken);
    struct model_lock *lock = &model.locks[i];

    model_drop_request(lock, i);
    *lock = (struct model_lock){.used = false};
    lock_release(&locks[i], &woken);
    model_wake(&woken);
}

static void step_downgrade(int i)
{
    struct lock_list woken = TAILQ_HEAD_INITIALIZER(woken);

    model.locks[i].held = LOCK_SHARED;
    model.locks[i].isolating = false;
    lock_downgrade(&locks[i], &woken);
    model_wake(&woken);
}

static void step_lock(int i)
{
    const struct model_lock *lock = &model.locks[i];

    if (!lock->used)
        step_request(i);
    else if (lock->phase == LOCK_RESERVED && percent(80))
        step_hold(i);
    else if (lock->phase != LOCK_SETTLED && percent(20))
        step_cancel(i);
    else if (lock->phase == LOCK_SETTLED && lock->held == LOCK_SHARED && percent(40))
        step_upgrade(i);
    else if (lock->phase == LOCK_SETTLED && lock->held == LOCK_EXCLUSIVE && percent(25))
        step_downgrade(i);
    else if (percent(lock->phase == LOCK_SETTLED ? 25 : 10))
        step_release(i);
}

static bool is_empty(int table)
{
    for (int i = 0; i < size.locks; i++) {
        if (model.locks[i].used && model.locks[i].table == table)
            return false;
    }
    return true;
}

static void step_relations(void)
{
    int one = rand() % size.tables, other = rand() % size.tables;

    if (!is_empty(one))
        return;
    if (percent(30)) {
        lock_unrelate(&tables[one]);
        for (int i = 0; i < size.tables; i++)
            model.related[one][i] = model.related[i][one] = false;
    } else if (one != other) {
        ck_assert_int_eq(lock_relate(&tables[one], &tables[other]), 0);
        model.related[one][other] = model.related[other][one] = true;
    }
}

static void step_stale(void)
{
    int owner = rand() % size.owners;

    model.stale[owner] = percent(30);
    if (model.stale[owner])
        lock_break(&owners[owner]);
    else
        lock_forgive(&owners[owner]);
}

static bool lock_agrees(int i)
{
    const struct model_lock *expected = &model.locks[i];
    const struct lock *lock = &locks[i];

    if (!expected->used)
        return lock->phase == LOCK_SETTLED && lock->held == LOCK_NONE;
    if (expected->phase == LOCK_WAITING) {
        unsigned int position = 0;

        for (int k = 0; k < queue_place(i); k++)
            position += model.locks[model.queue[k]].table == expected->table;
        if (lock_queue_position(lock) != position)
            return false;
    }
    return lock->phase == expected->phase && lock->held == expected->held &&
           lock->wanted == (lock->phase == LOCK_SETTLED ? LOCK_NONE : expected->wanted) &&
           lock->isolates ==
               (lock->phase == LOCK_SETTLED ? expected->isolating : expected->will_isolate);
}

static bool table_agrees(int table)
{
    enum lock_mode mode = LOCK_NONE, held = LOCK_NONE;
    unsigned long since = 0;
    int count = 0;
    const struct lock *lock;

    for (int i = 0; i < size.locks; i++) {
        const struct model_lock *one = &model.locks[i];

        if (!one->used || one->table != table)
            continue;
        mode = granted_mode(one) > mode ? granted_mode(one) : mode;
        held = one->held > held ? one->held : held;
        count += granted_mode(one) != LOCK_NONE;
    }
    TAILQ_FOREACH (lock, &tables[table].granted, granted_link) {
        const struct model_lock *one = &model.locks[lock - locks];

        if (one->table != table || one->since <= since)
            return false;
        since = one->since;
        count--;
    }
    return count == 0 && lock_table_mode(&tables[table]) == mode &&
           lock_table_held(&tables[table]) == held;
}

static bool owner_agrees(int owner)
{
    enum lock_mode held = LOCK_NONE;
    struct lock_range range = random_range();
    bool has_range = false;
    const struct lock *found = lock_owner_find(&owners[owner], range);

    for (int i = 0; i < size.locks; i++) {
        const struct model_lock *one = &model.locks[i];

        if (!one->used || one->owner != owner)
            continue;
        held = one->held > held ? one->held : held;
        has_range = has_range || (one->range.first_byte == range.first_byte &&
                                  one->range.last_byte == range.last_byte);
    }
    if (found != NULL &&
        (found->owner != &owners[owner] || found->range.first_byte != range.first_byte ||
         found->range.last_byte != range.last_byte))
        return false;
    return lock_owner_held(&owners[owner]) == held && has_range == (found != NULL);
}

static bool is_in_gate(const struct model_lock *lock, int owner, int table, struct lock_range range,
                       bool change)
{
    return lock->used && lock->held != LOCK_NONE && (change || lock->isolating) &&
           lock->owner != owner && touch(lock, table, range);
}

static bool gate_agrees(bool change)
{
    int owner = rand() % size.owners, table = table_of(owner), expected = 0;
    struct lock_range range = random_range();
    const struct lock *blocker = &locks[0];
    bool any_here = false;
    int answer = change ? lock_may_change(&tables[table], &owners[owner], range, &blocker)
                        : lock_may_read(&tables[table], &owners[owner], range, &blocker);

    for (int i = 0; i < size.locks; i++) {
        if (is_in_gate(&model.locks[i], owner, table, range, change)) {
            expected = -EBUSY;
            any_here = any_here || model.locks[i].table == table;
        }
    }
    if (change && model.stale[owner])
        expected = -ESTALE;
    if (answer != expected)
        return false;
    if (answer != -EBUSY)
        return blocker == &locks[0];
    if (!any_here)
        return blocker == NULL;
    return blocker != NULL && blocker->table == &tables[table] &&
           is_in_gate(&model.locks[blocker - locks], owner, table, range, change);
}

static bool agrees(void)
{
    bool agree = true;

    for (int i = 0; i < size.locks; i++)
        agree = agree && lock_agrees(i);
    for (int i = 0; i < size.tables; i++)
        agree = agree && table_agrees(i);
    for (int i = 0; i < size.owners; i++)
        agree = agree && owner_agrees(i);
    for (int i = 0; i < 4; i++)
        agree = agree && gate_agrees(i % 2 == 0);
    return agree;
}

static void start(const struct world_size *of_size)
{
    size = *of_size;
    srand(1);
    lock_space_init(&space);
    for (int i = 0; i < size.parties; i++)
        lock_party_init(&parties[i]);
    for (int i = 0; i < size.owners; i++)
        lock_owner_init(&owners[i], &parties[party_of(i)]);
    for (int i = 0; i < size.tables; i++)
        lock_table_init(&tables[i], &space);
}

static const struct world_size sizes[] = {
    /* several devices, some related */
    {.tables = 5,
     .parties = 5,
     .owners = 15,
     .locks = 32,
     .isolate_percent = 40,
     .shared_percent = 60},
    /* many ranges of one device */
    {.tables = 1,
     .parties = 8,
     .owners = 24,
     .locks = 64,
     .isolate_percent = 10,
     .shared_percent = 70},
    /* few owners, so many requests behind an owner's own */
    {.tables = 2,
     .parties = 3,
     .owners = 4,
     .locks = 40,
     .isolate_percent = 50,
     .shared_percent = 50},
    /* mostly readers: upgrades */
    {.tables = 6,
     .parties = 6,
     .owners = 12,
     .locks = 24,
     .isolate_percent = 20,
     .shared_percent = 90},
};

START_TEST(random_steps_agree_with_the_model)
{
    start(&sizes[_i]);
    for (int step = 0; step < STEPS; step++) {
        if (percent(2))
            step_relations();
        else if (percent(3))
            step_stale();
        else
            step_lock(rand() % size.locks);
        /* Each assertion costs Check a write to a pipe. */
        if (!agrees())
            ck_abort_msg("the tables and the model part at step %d", step);
        if (step % 16 == 0 && any_in_cycle())
            ck_abort_msg("a party waits for itself at step %d", step);
    }
    for (int i = 0; i <= LOCK_DEADLOCK; i++)
        ck_assert_int_gt(seen_verdicts[i], STEPS / 500);
    ck_assert_int_gt(seen_woken, STEPS / 500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock_model");
    TCase *model_case = tcase_create("model");

    tcase_set_timeout(model_case, 120);
    tcase_add_loop_test(model_case, random_steps_agree_with_the_model, 0,
                        (int)(sizeof(sizes) / sizeof(sizes[0])));
    suite_add_tcase(suite, model_case);
    return suite_run(suite);
}
