/* SPDX-License-Identifier: MIT */
/*
 * Never a flush that returned before the writes through devices that share its bytes were covered
 * (contract S3, S4, S5): random schedules of a disk and two partitions, each over storage of its
 * own that knows what a crash would take away (as each has a page cache of its own). In what order
 * things end, and whether a sync fails, is chance, from the schedule's number.
 */
#include "tests/unit/daemon/device/fixture.h"

#include "common/container.h"
#include "daemon/device/gate.h"
#include "daemon/device/session.h"

enum { SCHEDULES = 4000, STEPS = 80, DEVICES = 3, CHANGES_MAX = 16 };
enum { FLUSHES_MAX = STEPS + DEVICES };

struct change {
    struct io io;
    struct gate_ticket ticket;
    unsigned int device;
    bool busy;
};

struct asked_flush {
    struct flush flush;
    unsigned int device;
    uint64_t must[DEVICES][CRASH_BLOCKS]; /* the last change of each block that it has to cover */
    bool failure_known; /* of it, or of one that shares its bytes, somebody had been told */
    bool waits;
};

static struct {
    unsigned int number, random;
    struct crash_backend crash[DEVICES];
    struct device *devices[DEVICES];
    struct session sessions[DEVICES];
    struct lock_party party;
    struct change changes[CHANGES_MAX];
    struct asked_flush flushes[FLUSHES_MAX];
    unsigned int flush_count;
    uint64_t acknowledged[DEVICES][CRASH_BLOCKS];
    bool failed[DEVICES]; /* a sync of its own */
    bool told[DEVICES];   /* a flush of it has been answered with an error */
    unsigned int fail_syncs;
} t;

static struct {
    unsigned int elided, covered, failed;
} seen;

#define VERIFY(condition, message)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("schedule %u: %s", t.number, message);                                    \
    } while (0)

static unsigned int chance(unsigned int below)
{
    return (unsigned int)rand_r(&t.random) % below;
}

/* Device 0 is the disk. */
static bool shares(unsigned int one, unsigned int other)
{
    return one == other || one == 0 || other == 0;
}

/* Of it, or of one that shares its bytes, what `which` says. */
static bool any_of(const bool which[DEVICES], unsigned int device)
{
    bool any = false;
    for (unsigned int i = 0; i < DEVICES; i++)
        any = any || (shares(device, i) && which[i]);
    return any;
}

/* Somebody has been told of a loss among its bytes. */
static bool is_known(unsigned int device)
{
    bool known = t.told[device];
    for (unsigned int i = 0; i < DEVICES; i++)
        known = known || (shares(device, i) && t.told[i] && t.failed[i]);
    return known;
}

static void check_covered(const struct asked_flush *flush)
{
    for (unsigned int i = 0; i < DEVICES; i++) {
        for (unsigned int j = 0; j < CRASH_BLOCKS; j++)
            VERIFY(!shares(flush->device, i) || t.crash[i].blocks[j].durable >= flush->must[i][j],
                   "a flush succeeded, and a crash would take what it had to cover");
    }
}

static void check_flush(const struct asked_flush *flush, int result)
{
    if (result == 0) {
        VERIFY(!flush->failure_known, "a flush succeeded after a failure was told");
        check_covered(flush);
        return;
    }
    VERIFY(t.failed[0] || t.failed[1] || t.failed[2], "a flush failed, but nothing else had");
    VERIFY(t.devices[flush->device]->sync.ledger.failed != 0, "told of a failure it does not have");
    t.told[flush->device] = true;
    seen.failed++;
}

static void on_flushed(struct flush *device_flush, int result)
{
    struct asked_flush *flush = CONTAINER_OF(device_flush, struct asked_flush, flush);
    VERIFY(flush->waits, "a flush was answered twice");
    flush->waits = false;
    seen.covered += result == 0;
    check_flush(flush, result);
}

static void step_flush(unsigned int device)
{
    struct asked_flush *flush = &t.flushes[t.flush_count++];
    *flush =
        (struct asked_flush){.device = device, .failure_known = is_known(device), .waits = true};
    flush->flush = (struct flush){.loop = t.sessions[device].client.loop, .on_done = on_flushed};
    (void)memcpy(flush->must, t.acknowledged, sizeof(flush->must));
    int result = flush_begin(t.devices[device], &flush->flush);
    if (result > 0)
        return;
    flush->waits = false;
    seen.elided += result == 0;
    check_flush(flush, result);
}

static void on_changed(struct io *io, int result)
{
    struct change *change = CONTAINER_OF(io, struct change, io);
    unsigned int device = change->device;
    gate_end(t.devices[device], &t.sessions[device], io, change->ticket, result);
    change->busy = false;
    for (unsigned int i = crash_first_block(io); i <= crash_last_block(io); i++) {
        if (io->value > t.acknowledged[device][i])
            t.acknowledged[device][i] = io->value;
    }
}

static void step_change(unsigned int device)
{
    struct gate_refusal refusal;
    struct change *change = t.changes;
    while (change < &t.changes[CHANGES_MAX] && change->busy)
        change++;
    if (change == &t.changes[CHANGES_MAX])
        return;
    uint64_t first = chance(CRASH_BLOCKS);
    *change = (struct change){.device = device};
    change->io = (struct io){.op = IO_WRITE,
                             .offset_bytes = first * CRASH_BLOCK_BYTES,
                             .length_bytes = CRASH_BLOCK_BYTES,
                             .fua = chance(8) == 0,
                             .loop = t.sessions[device].client.loop,
                             .on_done = on_changed};
    if (gate_begin(t.devices[device], &t.sessions[device], IO_WRITE, change->io.offset_bytes,
                   change->io.offset_bytes + CRASH_BLOCK_BYTES, &change->ticket, &refusal) < 0) {
        VERIFY(t.failed[0] || t.failed[1] || t.failed[2], "refused without a failure");
        return;
    }
    change->busy = true;
    gate_submit(t.devices[device], &change->io);
}

static void step_end(unsigned int device)
{
    struct crash_backend *crash = &t.crash[device];
    if (crash->held_count == 0)
        return;
    unsigned int index = chance(crash->held_count);
    bool fails = crash->held[index]->op == IO_SYNC && chance(1000) < t.fail_syncs;
    t.failed[device] = t.failed[device] || fails;
    crash_backend_end(crash, index, fails ? -EIO : 0);
    VERIFY(!crash->syncs_overlapped, "two syncs at once");
}

static void step(void)
{
    unsigned int device = chance(DEVICES);
    unsigned int what = chance(100);
    if (what < 35)
        step_change(device);
    else if (what < 50)
        step_flush(device);
    else if (what < 85)
        step_end(device);
    else
        (void)mailbox_drain(&fixture.loops[chance(FIXTURE_LOOPS)].base.mailbox);
}

static bool storage_is_busy(void)
{
    return t.crash[0].held_count + t.crash[1].held_count + t.crash[2].held_count > 0;
}

/* All that is under way ends. */
static void settle(void)
{
    do {
        for (unsigned int i = 0; i < DEVICES; i++)
            step_end(i);
        if (fixture_deliver() || storage_is_busy())
            continue;
        if (fixture.loops[0].base.pending + fixture.loops[1].base.pending > 0)
            fixture_await_mail(); /* a failure is being written down */
    } while (storage_is_busy() ||
             fixture.loops[0].base.pending + fixture.loops[1].base.pending > 0 ||
             fixture_deliver());
    for (unsigned int i = 0; i < t.flush_count; i++)
        VERIFY(!t.flushes[i].waits, "a flush is never answered");
}

/* Each device's next flush: with an error if its own bytes are lost, else all is durable. */
static void check_end(void)
{
    t.fail_syncs = 0;
    for (unsigned int i = 0; i < DEVICES; i++) {
        step_flush(i);
        settle();
        VERIFY(!any_of(t.failed, i) || t.told[i], "a flush hides what a related device has lost");
    }
}

static void on_told(struct letter *letter)
{
    struct session *session = CONTAINER_OF(letter, struct session, news.letter);
    session->news.posted = false;
}

static void begin_device(unsigned int i)
{
    struct backend_info info = fixture_info(i + 1);
    struct session *session = &t.sessions[i];
    (void)snprintf(info.key.text, sizeof(info.key.text), "related-%u", i);
    crash_backend_init(&t.crash[i]);
    t.devices[i] =
        device_new(&fixture.registry.commons, i + 1, "crash", &t.crash[i].backend, &info);
    ck_assert_ptr_nonnull(t.devices[i]);
    *session = (struct session){
        .number = i + 1, .client.loop = &fixture.loops[i % FIXTURE_LOOPS], .device = t.devices[i]};
    session->news.letter.deliver = on_told;
    lock_owner_init(&session->lock, &t.party);
    TAILQ_INSERT_TAIL(&t.devices[i]->sessions, session, device_link);
}

static void end_device(unsigned int i)
{
    char message[STATE_MESSAGE_MAX];
    struct device *device = t.devices[i];
    ck_assert_uint_eq(atomic_load(&device->registration.holds), 0);
    TAILQ_REMOVE(&device->sessions, &t.sessions[i], device_link);
    ck_assert_int_eq(state_clear_failure(fixture.state, &device->key, message), 0);
    relations_end(device);
    backend_close(device->backend);
    t.devices[i] = device_free(device);
}

static void run_schedule(unsigned int number)
{
    (void)memset(&t, 0, sizeof(t));
    t.number = t.random = number;
    t.fail_syncs = chance(3) == 0 ? 60 : 0;
    lock_party_init(&t.party);
    for (unsigned int i = 0; i < DEVICES; i++)
        begin_device(i);
    for (unsigned int i = 1; i < DEVICES; i++)
        ck_assert_int_eq(relations_add(t.devices[0], t.devices[i]), 0);
    for (unsigned int i = 0; i < STEPS; i++)
        step();
    settle();
    check_end();
    for (unsigned int i = 0; i < DEVICES; i++)
        end_device(i);
}

START_TEST(no_flush_returns_before_writes_through_related_devices_are_covered)
{
    for (unsigned int number = 1; number <= SCHEDULES; number++)
        run_schedule(number);
    ck_assert_uint_gt(seen.elided, SCHEDULES / 8);
    ck_assert_uint_gt(seen.covered, SCHEDULES * 4);
    ck_assert_uint_gt(seen.failed, SCHEDULES / 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("related, crash");
    TCase *schedules = tcase_create("schedules");
    tcase_set_timeout(schedules, 300);
    tcase_add_checked_fixture(schedules, fixture_setup, fixture_teardown);
    tcase_add_test(schedules, no_flush_returns_before_writes_through_related_devices_are_covered);
    suite_add_tcase(suite, schedules);
    return suite_run(suite);
}
