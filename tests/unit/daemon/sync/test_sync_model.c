/* SPDX-License-Identifier: MIT */
/*
 * 100,000 random steps of the sync ledger beside a model that is written differently: each change
 * by itself with a state of its own, each sync a list of the changes that are in it, each flush a
 * list of the changes that it speaks of. It numbers no changes and knows no boundaries; all that
 * the ledger says is worked out again from the lists after each step. When an episode is over, its
 * history is looked through for a flush that broke contract S3, without asking how it came to it.
 */
#include "daemon/sync/sync.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/suite.h"

/* Sanitizers take longer, and look for something else. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { TOTAL_STEPS = 20000 };
#else
enum { TOTAL_STEPS = 100000 };
#endif

enum { EPISODE = 400, SESSIONS = 4, NOBODY = -1, NEVER = 0 };

enum state { BEGUN, ACKNOWLEDGED, DURABLE };

struct change {
    enum state state; /* as far as blkd can know */
    int session;      /* never used twice, or NOBODY */
    unsigned int acknowledged_at,
        on_disk_at; /* in ticks; on disk: what a crash could not take away */
    uint64_t acknowledged_ms;
};

struct sync {
    struct change *covers[EPISODE + 1];
    size_t count;
    bool ended, succeeded;
    uint64_t end_ms, took_us;
};

enum fate { ELIDED, OWN, SHARED, REFUSED };

struct flush {
    struct sync_waiter waiter; /* first: the ledger gives this back */
    struct change *must[EPISODE + 1];
    size_t count;
    enum fate fate;
    bool waits, succeeded;
    const struct sync *sync; /* by which it will be answered; NULL: not begun yet */
    unsigned int asked_at, answered_at;
};

struct model {
    struct sync_ledger ledger; /* what is tested, with its parts */
    struct sync_part parts[SESSIONS];
    int sessions[SESSIONS];
    int last_session;
    unsigned int tick;
    uint64_t now_ms;
    struct change changes[EPISODE + 1];
    struct sync syncs[EPISODE + 1];
    struct flush flushes[EPISODE + 1];
    size_t change_count, sync_count, flush_count;
    int failed;
    uint64_t failed_ms;
    int changes_percent, flushes_percent; /* of the steps, in this episode */
};

/* How often each thing happened in the whole run, so that none can be missed. */
static struct {
    unsigned int verdicts[SYNC_FAILED + 1], fates[REFUSED + 1];
    unsigned int failed_syncs, failed_otherwise, known_durable, forgotten_durable, external,
        answers;
    unsigned int parts_with_some;
} seen;

static struct model m;

static struct sync *running(void)
{
    struct sync *last = m.sync_count > 0 ? &m.syncs[m.sync_count - 1] : NULL;
    return last != NULL && !last->ended ? last : NULL;
}

/* The changes of one session, or of all (NULL), that are not known to be durable. */
static size_t unsynced(const int *session, uint64_t *ret_since_ms)
{
    const struct change *oldest = NULL;
    size_t count = 0;

    for (size_t i = 0; i < m.change_count; i++) {
        const struct change *change = &m.changes[i];

        if (change->state != ACKNOWLEDGED || (session != NULL && change->session != *session))
            continue;
        count++;
        if (oldest == NULL || change->acknowledged_at < oldest->acknowledged_at)
            oldest = change;
    }
    *ret_since_ms = oldest != NULL ? oldest->acknowledged_ms : 0;
    return count;
}

static bool all_durable(void)
{
    return unsynced(NULL, &(uint64_t){0}) == 0;
}

static void start_sync(void)
{
    struct sync *sync = &m.syncs[m.sync_count++];
    *sync = (struct sync){0};
    for (size_t i = 0; i < m.change_count; i++)
        if (m.changes[i].state == ACKNOWLEDGED)
            sync->covers[sync->count++] = &m.changes[i];
    for (size_t i = 0; i < m.flush_count; i++)
        if (m.flushes[i].waits)
            m.flushes[i].sync = sync;
    m.tick++;
}

static bool sync_has(const struct sync *sync, const struct change *change)
{
    for (size_t i = 0; i < sync->count; i++)
        if (sync->covers[i] == change)
            return true;
    return false;
}

static bool sync_satisfies(const struct sync *sync, const struct flush *flush)
{
    for (size_t i = 0; i < flush->count; i++)
        if (flush->must[i]->state != DURABLE && !sync_has(sync, flush->must[i]))
            return false;
    return true;
}

static bool somebody_waits_for_the_next(void)
{
    for (size_t i = 0; i < m.flush_count; i++)
        if (m.flushes[i].waits && m.flushes[i].sync == NULL)
            return true;
    return false;
}

static struct change *change_new(int session)
{
    struct change *change = &m.changes[m.change_count++];
    *change = (struct change){.state = BEGUN, .session = session};
    return change;
}

static void change_acknowledge(struct change *change, bool fua)
{
    bool known = fua && m.failed == 0 && all_durable();
    change->acknowledged_at = m.tick;
    change->acknowledged_ms = m.now_ms;
    change->on_disk_at = fua ? m.tick : NEVER;
    /* A durable change after one that is not is forgotten to be: one sync too many, never too few.
     */
    change->state = known ? DURABLE : ACKNOWLEDGED;
    seen.known_durable += known;
    seen.forgotten_durable += fua && !known;
}

/* One that began some time ago, maybe before the sync that runs. */
static struct change *any_begun_of(int session)
{
    for (size_t i = 0; i < m.change_count; i++)
        if (m.changes[i].state == BEGUN && m.changes[i].session == session)
            return &m.changes[i];
    return NULL;
}

static void step_change(void)
{
    int slot = rand() % SESSIONS;
    bool fua = rand() % 4 == 0;
    struct change *change = any_begun_of(m.sessions[slot]);

    if (change == NULL || rand() % 2 == 0)
        change = change_new(m.sessions[slot]);
    change_acknowledge(change, fua);
    if (fua)
        sync_changed_durably(&m.ledger, &m.parts[slot], m.now_ms);
    else
        sync_changed(&m.ledger, &m.parts[slot], m.now_ms);
}

static void step_external_change(void)
{
    change_acknowledge(change_new(NOBODY), false);
    sync_born_unsynced(&m.ledger, m.now_ms);
    seen.external++;
}

/* A session goes, what it changed stays; its place in memory is another's. */
static void session_replace(int slot)
{
    m.sessions[slot] = ++m.last_session;
    m.parts[slot] = (struct sync_part){0};
}

static struct flush *flush_new(void)
{
    struct flush *flush = &m.flushes[m.flush_count++];
    *flush = (struct flush){.asked_at = m.tick};
    for (size_t i = 0; i < m.change_count; i++)
        if (m.changes[i].state != BEGUN)
            flush->must[flush->count++] = &m.changes[i];
    return flush;
}

static enum sync_verdict expect_verdict(struct flush *flush)
{
    if (m.failed != 0) {
        flush->fate = REFUSED;
        return SYNC_FAILED;
    }
    if (all_durable()) {
        flush->fate = ELIDED;
        flush->succeeded = true;
        flush->answered_at = m.tick;
        return SYNC_DONE;
    }
    if (running() == NULL) {
        flush->fate = OWN;
        flush->waits = true;
        return SYNC_START;
    }
    if (sync_satisfies(running(), flush))
        flush->sync = running();
    flush->fate = flush->sync != NULL || somebody_waits_for_the_next() ? SHARED : OWN;
    flush->waits = true;
    return SYNC_WAIT;
}

static void step_flush(void)
{
    struct flush *flush = flush_new();
    enum sync_verdict expected = expect_verdict(flush);
    enum sync_verdict verdict = sync_flush(&m.ledger, &flush->waiter);

    ck_assert_int_eq(verdict, expected);
    seen.verdicts[verdict]++;
    if (verdict == SYNC_START)
        start_sync();
}

static void model_fail(int error)
{
    if (m.failed != 0)
        return;
    m.failed = error;
    m.failed_ms = m.now_ms;
}

static void sync_end(struct sync *sync, int result, uint64_t took_us)
{
    if (result < 0)
        model_fail(result);
    sync->ended = true;
    sync->succeeded = m.failed == 0;
    sync->end_ms = m.now_ms;
    sync->took_us = took_us;
    for (size_t i = 0; sync->succeeded && i < sync->count; i++) {
        sync->covers[i]->state = DURABLE;
        if (sync->covers[i]->on_disk_at == NEVER)
            sync->covers[i]->on_disk_at = m.tick;
    }
}

static bool is_due(const struct flush *flush)
{
    for (size_t i = 0; i < flush->count && m.failed == 0; i++)
        if (flush->must[i]->state != DURABLE)
            return false;
    return flush->waits;
}

/* Exactly those whose changes are durable now, or all of a failed device, in the order of asking.
 */
static void expect_answers(const struct sync_waiter_list *answered)
{
    const struct sync_waiter *waiter = TAILQ_FIRST(answered);

    for (size_t i = 0; i < m.flush_count; i++) {
        struct flush *flush = &m.flushes[i];

        if (!is_due(flush))
            continue;
        ck_assert_ptr_eq(waiter, &flush->waiter);
        waiter = TAILQ_NEXT(waiter, link);
        flush->waits = false;
        flush->succeeded = m.failed == 0;
        flush->answered_at = m.tick;
        if (flush->sync == NULL && flush->fate == OWN)
            flush->fate = REFUSED;
        seen.answers++;
    }
    ck_assert_msg(waiter == NULL, "a flush was answered too early, or twice");
}

static void step_end(void)
{
    static const int errors[] = {-EIO, -ENOSPC};
    int result = rand() % 120 == 0 ? errors[rand() % 2] : 0;
    uint64_t took_us = 1 + (uint64_t)(rand() % 10000);
    struct sync_waiter_list answered = TAILQ_HEAD_INITIALIZER(answered);
    bool again = sync_completed(&m.ledger, result, m.now_ms, took_us, &answered);

    seen.failed_syncs += result < 0;
    sync_end(running(), result, took_us);
    expect_answers(&answered);
    ck_assert_int_eq(again, m.failed == 0 && somebody_waits_for_the_next());
    if (again)
        start_sync();
}

static void step_fail(void)
{
    int error = rand() % 2 == 0 ? -ENXIO : -EIO;
    sync_fail(&m.ledger, error, m.now_ms);
    model_fail(error);
    seen.failed_otherwise++;
}

static void check_part(int slot)
{
    uint64_t since_ms = 1, expected_since_ms = 0;
    size_t expected = unsynced(&m.sessions[slot], &expected_since_ms);
    ck_assert_uint_eq(sync_part_unsynced(&m.ledger, &m.parts[slot], &since_ms), expected);
    ck_assert_uint_eq(since_ms, expected_since_ms);
    seen.parts_with_some += expected > 0;
}

static void check_state(void)
{
    uint64_t since_ms = 0;
    size_t count = unsynced(NULL, &since_ms);
    ck_assert_int_eq(m.ledger.running, running() != NULL);
    ck_assert_int_eq(m.ledger.failed, m.failed);
    ck_assert_uint_eq(m.ledger.failed_ms, m.failed_ms);
    ck_assert_int_eq(sync_unsynced(&m.ledger), count > 0);
    ck_assert_uint_eq(sync_unsynced_count(&m.ledger), count);
    ck_assert_uint_eq(m.ledger.unsynced_since_ms, since_ms);
}

static void check_counters(void)
{
    const struct sync_ledger *ledger = &m.ledger;
    size_t fates[REFUSED + 1] = {0};
    bool next = somebody_waits_for_the_next();

    for (size_t i = 0; i < m.flush_count; i++)
        fates[m.flushes[i].fate]++;
    ck_assert_uint_eq(ledger->asked, m.flush_count);
    ck_assert_uint_eq(ledger->issued, m.sync_count);
    ck_assert_uint_eq(ledger->issued + next, fates[OWN]);
    ck_assert_uint_eq(ledger->shared, fates[SHARED]);
    ck_assert_uint_eq(ledger->elided, fates[ELIDED]);
    ck_assert_uint_eq(ledger->refused, fates[REFUSED]);
    ck_assert_uint_eq(ledger->asked,
                      ledger->issued + ledger->shared + ledger->elided + ledger->refused + next);
}

static void check_sync_times(void)
{
    const struct sync *last = NULL;
    uint64_t longest_us = 0;

    for (size_t i = 0; i < m.sync_count; i++) {
        const struct sync *sync = &m.syncs[i];

        if (sync->succeeded)
            last = sync;
        if (sync->ended && sync->took_us > longest_us)
            longest_us = sync->took_us;
    }
    ck_assert_uint_eq(m.ledger.last_sync_ms, last != NULL ? last->end_ms : 0);
    ck_assert_uint_eq(m.ledger.last_sync_us, last != NULL ? last->took_us : 0);
    ck_assert_uint_eq(m.ledger.longest_sync_us, longest_us);
}

/* S3 itself: who was told that all is safe, while something acknowledged before could still go? */
static void check_history(void)
{
    for (size_t i = 0; i < m.flush_count; i++) {
        const struct flush *flush = &m.flushes[i];

        seen.fates[flush->fate]++;
        for (size_t j = 0; flush->succeeded && j < m.change_count; j++) {
            const struct change *change = &m.changes[j];

            if (change->state == BEGUN || change->acknowledged_at >= flush->asked_at)
                continue;
            ck_assert_msg(change->on_disk_at != NEVER && change->on_disk_at <= flush->answered_at,
                          "flush %zu succeeded, change %zu was not on disk", i, j);
        }
    }
}

static void random_step(void)
{
    int percent = rand() % 100, rare = rand() % 1000;
    m.tick++;
    /* A wall clock: it stands still, goes, and is set back. */
    m.now_ms += (uint64_t)(rand() % 3);
    if (rare < 5)
        m.now_ms -= 100;
    if (rare < 2)
        step_fail();
    else if (rare < 10)
        step_external_change();
    else if (rare < 20)
        session_replace(rand() % SESSIONS);
    else if (rare < 60)
        (void)change_new(m.sessions[rand() % SESSIONS]);
    else if (percent < m.changes_percent)
        step_change();
    else if (percent < m.changes_percent + m.flushes_percent)
        step_flush();
    else if (running() != NULL)
        step_end();
}

static void begin_episode(void)
{
    m.change_count = m.sync_count = m.flush_count = 0;
    m.tick = 1;
    m.now_ms = 1700000000000 + (uint64_t)(rand() % 1000);
    m.failed = rand() % 50 == 0 ? -EIO : 0;
    m.failed_ms = m.failed != 0 ? m.now_ms : 0;
    m.changes_percent = 10 + rand() % 50;
    m.flushes_percent = 10 + rand() % 30;
    for (int slot = 0; slot < SESSIONS; slot++)
        session_replace(slot);
    change_acknowledge(change_new(NOBODY), false);
    if (m.failed != 0)
        sync_init_failed(&m.ledger, m.failed, m.now_ms);
    else
        sync_init(&m.ledger, m.now_ms);
    check_state();
}

/* Returns how many steps it took. It ends early when a failed device is recovered. */
static unsigned int run_episode(void)
{
    unsigned int steps = 0;
    begin_episode();
    while (steps < EPISODE && (m.failed == 0 || rand() % 20 != 0)) {
        random_step();
        steps++;
        check_state();
        check_counters();
        check_sync_times();
        /* Seldom: a part has to be right also when it was not looked at for long. */
        if (rand() % 8 == 0)
            check_part(rand() % SESSIONS);
    }
    for (int slot = 0; slot < SESSIONS; slot++)
        check_part(slot);
    check_history();
    return steps;
}

START_TEST(random_steps_agree_with_the_model)
{
    unsigned int steps = 0;
    srand(1);
    while (steps < TOTAL_STEPS)
        steps += run_episode();
    for (size_t i = 0; i < sizeof(seen.verdicts) / sizeof(seen.verdicts[0]); i++)
        ck_assert_uint_gt(seen.verdicts[i], TOTAL_STEPS / 200);
    for (size_t i = 0; i < sizeof(seen.fates) / sizeof(seen.fates[0]); i++)
        ck_assert_uint_gt(seen.fates[i], TOTAL_STEPS / 200);
    ck_assert_uint_gt(seen.failed_syncs, TOTAL_STEPS / 2000);
    ck_assert_uint_gt(seen.failed_otherwise, TOTAL_STEPS / 2000);
    ck_assert_uint_gt(seen.known_durable, TOTAL_STEPS / 200);
    ck_assert_uint_gt(seen.forgotten_durable, TOTAL_STEPS / 200);
    ck_assert_uint_gt(seen.external, TOTAL_STEPS / 200);
    ck_assert_uint_gt(seen.answers, TOTAL_STEPS / 20);
    ck_assert_uint_gt(seen.parts_with_some, TOTAL_STEPS / 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sync_model");
    TCase *model = tcase_create("model");

    tcase_set_timeout(model, 120);
    tcase_add_test(model, random_steps_agree_with_the_model);
    suite_add_tcase(suite, model);
    return suite_run(suite);
}
