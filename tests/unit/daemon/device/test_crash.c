/* SPDX-License-Identifier: MIT */
/*
 * Never a flush that returned before its writes were covered (contract S3, S5): random schedules of
 * a real device over storage that knows what a crash would take away at each moment
 * (crash_backend.h). Sessions on two workers, whose mailboxes the test drains, change and flush; in
 * what order things end, and whether a sync or a FUA write fails, is chance, from the schedule's
 * number. Only marks of failures are put by a thread of their own.
 */
#include "tests/unit/daemon/device/fixture.h"

#include "common/container.h"
#include "daemon/device/gate.h"
#include "daemon/device/session.h"

#ifdef __has_feature
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
enum { SCHEDULES = 1000 };
#else
enum { SCHEDULES = 10000 };
#endif

enum { STEPS = 80, SESSIONS = 4, CHANGES_MAX = 16, FLUSHES_MAX = STEPS + SESSIONS };

struct change {
    struct io io;
    struct gate_ticket ticket;
    struct session *session;
    bool busy;
};

struct asked_flush {
    struct flush flush;
    uint64_t must[CRASH_BLOCKS]; /* the last change of each block that it has to cover */
    bool failure_known;          /* somebody had been told before it came */
    bool waits;
};

static struct {
    unsigned int number, random;
    struct crash_backend crash;
    struct device *device;
    struct lock_party parties[SESSIONS];
    struct session sessions[SESSIONS];
    bool told[SESSIONS]; /* by an event */
    struct change changes[CHANGES_MAX];
    struct asked_flush flushes[FLUSHES_MAX];
    unsigned int flush_count;
    uint64_t acknowledged[CRASH_BLOCKS]; /* the last acknowledged change of each block */
    unsigned int syncs;
    int first_error;    /* of a sync or a FUA write */
    bool failure_known; /* a flush has been answered with an error */
    bool lazy_mail;
    unsigned int fail_syncs, fail_changes; /* of 1000 */
} t;

/* How often each thing happened in all schedules. */
static struct {
    unsigned int elided, covered, failed, refused_changes, failed_syncs, failed_fua, shared, told;
} seen;

/* Like ck_assert_msg, which makes a system call each time that all is well. */
#define VERIFY(condition, message)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("schedule %u: %s", t.number, message);                                    \
    } while (0)

static unsigned int chance(unsigned int below)
{
    return (unsigned int)rand_r(&t.random) % below;
}

/* ---- one schedule ---- */

/* The mark of a failure is on the disk before anybody hears of it. */
static void check_mark(void)
{
    char path[sizeof(fixture.directory) + sizeof(fixture.key.text) + 16];
    (void)snprintf(path, sizeof(path), "%s/failed/%s", fixture.directory, fixture.key.text);
    VERIFY(access(path, F_OK) == 0, "told of a failure that a crash would have forgotten");
}

static void check_flush(const struct asked_flush *flush, int result)
{
    if (result < 0) {
        VERIFY(t.first_error != 0, "a flush failed, but nothing else had");
        VERIFY(result == t.first_error, "a flush failed with another error than the first");
        t.failure_known = true;
        seen.failed++;
        check_mark();
        return;
    }
    VERIFY(!flush->failure_known, "a flush succeeded after a failure was told");
    for (unsigned int i = 0; i < CRASH_BLOCKS; i++)
        VERIFY(t.crash.blocks[i].durable >= flush->must[i],
               "a flush succeeded, and a crash would take what it had to cover");
}

static void on_flushed(struct flush *device_flush, int result)
{
    struct asked_flush *flush = CONTAINER_OF(device_flush, struct asked_flush, flush);
    VERIFY(flush->waits, "a flush was answered twice");
    flush->waits = false;
    seen.covered += result == 0;
    check_flush(flush, result);
}

static void flush_session(struct session *session)
{
    struct asked_flush *flush = &t.flushes[t.flush_count++];
    *flush = (struct asked_flush){.failure_known = t.failure_known, .waits = true};
    flush->flush = (struct flush){.loop = session->client.loop, .on_done = on_flushed};
    (void)memcpy(flush->must, t.acknowledged, sizeof(flush->must));
    int result = flush_begin(t.device, &flush->flush);
    if (result > 0)
        return;
    flush->waits = false;
    seen.elided += result == 0;
    check_flush(flush, result);
}

static void on_changed(struct io *io, int result)
{
    struct change *change = CONTAINER_OF(io, struct change, io);
    if (result == -EIO && io->fua && t.first_error == 0) {
        t.first_error = result;
        seen.failed_fua++;
    }
    gate_end(t.device, change->session, io, change->ticket, result);
    change->busy = false;
    for (unsigned int i = crash_first_block(io); result == 0 && i <= crash_last_block(io); i++) {
        if (io->value > t.acknowledged[i])
            t.acknowledged[i] = io->value;
    }
}

static struct change *free_change(void)
{
    for (unsigned int i = 0; i < CHANGES_MAX; i++) {
        if (!t.changes[i].busy)
            return &t.changes[i];
    }
    return NULL;
}

static void step_change(struct session *session)
{
    static const enum io_op ops[] = {IO_WRITE, IO_WRITE, IO_ZERO, IO_DISCARD, IO_READ};
    struct gate_refusal refusal;
    struct change *change = free_change();
    if (change == NULL)
        return;
    uint64_t first = chance(CRASH_BLOCKS);
    uint64_t count = 1 + chance(CRASH_BLOCKS - (unsigned int)first);
    *change = (struct change){.session = session};
    change->io = (struct io){.op = ops[chance(5)],
                             .offset_bytes = first * CRASH_BLOCK_BYTES,
                             .length_bytes = count * CRASH_BLOCK_BYTES,
                             .loop = session->client.loop,
                             .on_done = on_changed};
    change->io.fua = change->io.op <= IO_ZERO && change->io.op != IO_READ && chance(4) == 0;
    int error =
        gate_begin(t.device, session, change->io.op, change->io.offset_bytes,
                   change->io.offset_bytes + change->io.length_bytes, &change->ticket, &refusal);
    if (error < 0) {
        VERIFY(t.first_error != 0 && change->io.op != IO_READ, "refused without a failure");
        VERIFY(error == -EIO, "a change was refused with another error");
        seen.refused_changes++;
        return;
    }
    VERIFY(t.first_error == 0 || change->io.op == IO_READ, "written to a failed device");
    change->busy = true;
    gate_submit(t.device, &change->io);
}

/* What the storage says to one that is held. */
static int any_result(const struct io *io)
{
    static const int errors[] = {-EIO, -ENOSPC};
    unsigned int bad = io->op == IO_SYNC ? t.fail_syncs : t.fail_changes;
    return chance(1000) < bad ? errors[chance(2)] : 0;
}

static void step_end(void)
{
    if (t.crash.held_count == 0)
        return;
    unsigned int index = chance(t.crash.held_count);
    const struct io *io = t.crash.held[index];
    int result = any_result(io);
    bool is_sync = io->op == IO_SYNC;
    if (is_sync && result < 0 && t.first_error == 0)
        t.first_error = result;
    seen.failed_syncs += is_sync && result < 0;
    t.syncs += is_sync;
    crash_backend_end(&t.crash, index, result);
    VERIFY(!t.crash.syncs_overlapped, "two syncs at once");
}

static bool mark_is_under_way(const struct io_loop *loop)
{
    return t.device->sync.mark_loop == &loop->base && !t.device->sync.mark_kept;
}

static void wait_mail(struct io_loop *loop)
{
    struct pollfd ready = {.fd = mailbox_fd(&loop->base.mailbox), .events = POLLIN};
    VERIFY(poll(&ready, 1, 60000) == 1, "the mark of a failure is never put");
    (void)mailbox_drain(&loop->base.mailbox);
}

/* So that a schedule is the same each time it is run, the mark is waited for or left alone. */
static void step_mail(struct io_loop *loop)
{
    if (mark_is_under_way(loop) && t.lazy_mail && chance(3) != 0)
        return;
    while (mark_is_under_way(loop))
        wait_mail(loop);
    (void)mailbox_drain(&loop->base.mailbox);
}

static void check_counters(void)
{
    const struct sync_ledger *sync = &t.device->sync.ledger;
    VERIFY(sync->asked == t.flush_count, "not all flushes are counted");
    VERIFY(sync->asked == (sync->issued + sync->shared + sync->elided + sync->refused +
                           !TAILQ_EMPTY(&sync->next)),
           "the counters do not add up");
    VERIFY(sync->issued == (t.syncs + t.crash.syncs_held), "syncs were begun that are not counted");
}

static void step(void)
{
    struct session *session = &t.sessions[chance(SESSIONS)];
    unsigned int what = chance(100);
    if (what < 35)
        step_change(session);
    else if (what < 55)
        flush_session(session);
    else if (what < 90)
        step_end();
    else
        step_mail(&fixture.loops[chance(FIXTURE_LOOPS)]);
    for (unsigned int i = 0; !t.lazy_mail && i < FIXTURE_LOOPS; i++)
        step_mail(&fixture.loops[i]);
    check_counters();
}

static bool is_busy(void)
{
    bool busy = t.crash.held_count > 0;
    for (unsigned int i = 0; i < FIXTURE_LOOPS; i++)
        busy = busy || fixture.loops[i].base.pending > 0 ||
               mailbox_ready(&fixture.loops[i].base.mailbox);
    return busy;
}

/* All that is under way ends. */
static void settle(void)
{
    while (is_busy()) {
        step_end();
        for (unsigned int i = 0; i < FIXTURE_LOOPS; i++)
            step_mail(&fixture.loops[i]);
    }
    for (unsigned int i = 0; i < t.flush_count; i++)
        VERIFY(!t.flushes[i].waits, "a flush is never answered");
}

static void on_told(struct letter *letter)
{
    struct session *session = CONTAINER_OF(letter, struct session, news.letter);
    session->news.posted = false;
    t.told[session - t.sessions] = (session->news.events & SESSION_EVENT_SYNC_FAILED) != 0;
    seen.told++;
}

/* Each session's next flush: with an error if anything failed, else all is durable. */
static void check_end(void)
{
    t.failure_known = t.first_error != 0;
    for (unsigned int i = 0; i < SESSIONS; i++) {
        uint64_t failures = seen.failed;
        flush_session(&t.sessions[i]);
        settle();
        VERIFY(seen.failed - failures == (t.first_error != 0),
               "a session's next flush does not say what has become of the device");
        VERIFY(t.told[i] == (t.first_error != 0), "not every session was told by an event");
    }
    for (unsigned int i = 0; t.first_error == 0 && i < CRASH_BLOCKS; i++)
        VERIFY(t.crash.blocks[i].durable >= t.acknowledged[i], "not all is durable at the end");
    seen.shared += (unsigned int)t.device->sync.ledger.shared;
}

static void begin_schedule(unsigned int number)
{
    const struct backend_info info = fixture_info(number);
    t.number = t.random = number;
    crash_backend_init(&t.crash);
    t.device = device_new(&fixture.registry.commons, number, "crash", &t.crash.backend, &info);
    ck_assert_ptr_nonnull(t.device);
    t.flush_count = t.syncs = 0;
    t.first_error = 0;
    t.failure_known = false;
    (void)memset(t.acknowledged, 0, sizeof(t.acknowledged));
    (void)memset(t.changes, 0, sizeof(t.changes));
    t.lazy_mail = chance(2) == 0;
    t.fail_syncs = chance(4) == 0 ? 100 : 0;
    t.fail_changes = chance(4) == 0 ? 40 : 0;
    for (unsigned int i = 0; i < SESSIONS; i++) {
        struct session *session = &t.sessions[i];
        t.told[i] = false;
        *session = (struct session){
            .number = i + 1, .client.loop = &fixture.loops[i % FIXTURE_LOOPS], .device = t.device};
        session->news.letter.deliver = on_told;
        lock_party_init(&t.parties[i]);
        lock_owner_init(&session->lock, &t.parties[i]);
        TAILQ_INSERT_TAIL(&t.device->sessions, session, device_link);
    }
}

static void end_schedule(void)
{
    ck_assert_uint_eq(atomic_load(&t.device->registration.holds), 0);
    while (!TAILQ_EMPTY(&t.device->sessions))
        TAILQ_REMOVE(&t.device->sessions, TAILQ_FIRST(&t.device->sessions), device_link);
    if (t.device->sync.ledger.failed != 0)
        fixture_forget_failure();
    backend_close(&t.crash.backend);
    t.device = device_free(t.device);
}

static void run_schedule(unsigned int number)
{
    begin_schedule(number);
    for (unsigned int i = 0; i < STEPS; i++)
        step();
    settle();
    check_end();
    end_schedule();
}

START_TEST(no_flush_returns_before_its_writes_are_covered)
{
    for (unsigned int number = 1; number <= SCHEDULES; number++)
        run_schedule(number);
    ck_assert_uint_gt(seen.elided, SCHEDULES / 4);
    ck_assert_uint_gt(seen.covered, SCHEDULES * 4);
    ck_assert_uint_gt(seen.shared, SCHEDULES);
    ck_assert_uint_gt(seen.failed, SCHEDULES);
    ck_assert_uint_gt(seen.failed_syncs, SCHEDULES / 20);
    ck_assert_uint_gt(seen.failed_fua, SCHEDULES / 100);
    ck_assert_uint_gt(seen.refused_changes, SCHEDULES / 4);
    ck_assert_uint_gt(seen.told, SCHEDULES / 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crash");
    TCase *schedules = tcase_create("schedules");
    tcase_set_timeout(schedules, 300);
    tcase_add_checked_fixture(schedules, fixture_setup, fixture_teardown);
    tcase_add_test(schedules, no_flush_returns_before_its_writes_are_covered);
    suite_add_tcase(suite, schedules);
    return suite_run(suite);
}
