/* SPDX-License-Identifier: MIT */
/* Devices that share bytes, each with a page cache of its own (contract S4, S5, S7): a flush of one
 * syncs all of them, they fail together, and none is closed under another's flush. Device 0 is a
 * disk, 1 and 2 are its partitions. */
#include "tests/unit/daemon/device/session_fixture.h"

#include "daemon/device/gate.h"

enum { DISK, FIRST, SECOND };

static struct backend_info related_info(unsigned int number)
{
    struct backend_info info = fixture_info(number);
    (void)snprintf(info.key.text, sizeof(info.key.text), "related-%u", number);
    info.related_count = number == DISK ? 2 : 1;
    info.related[0] = fixture_info(number == DISK ? FIRST : DISK).identity;
    info.related[1] = fixture_info(SECOND).identity;
    return info;
}

static struct session *open_related(unsigned int number)
{
    const struct backend_info info = related_info(number);
    struct claim opener = {.loop = &fixture.loops[0].base,
                           .resized = registry_resized(&fixture.registry)};
    struct device *device = NULL;
    ck_assert_int_eq(registry_claim(&fixture.registry, &opener, "disk", &t.backends[number].backend,
                                    &info, &device),
                     REGISTRY_NEW);
    return enter(device);
}

static void on_written(struct io *io, int result)
{
    (void)io;
    ck_assert_int_eq(result, 0);
}

/* Writes a block and has it acknowledged. */
static void write_block(struct session *session)
{
    struct device *device = session->device;
    struct crash_backend *backend = (struct crash_backend *)(void *)device->backend;
    struct gate_ticket ticket;
    struct gate_refusal refusal;
    struct io io = {.op = IO_WRITE,
                    .length_bytes = CRASH_BLOCK_BYTES,
                    .loop = &fixture.loops[0],
                    .on_done = on_written};
    ck_assert_int_eq(gate_begin(device, session, IO_WRITE, 0, CRASH_BLOCK_BYTES, &ticket, &refusal),
                     0);
    backend_submit(device->backend, &io);
    crash_backend_end(backend, backend->held_count - 1, 0);
    gate_end(device, session, &io, ticket, 0);
}

struct asked {
    struct flush flush;
    bool done;
    int result;
};

static void on_flushed(struct flush *flush, int result)
{
    struct asked *asked = CONTAINER_OF(flush, struct asked, flush);
    asked->done = true;
    asked->result = result;
}

static void ask(struct session *session, struct asked *ret_asked)
{
    *ret_asked = (struct asked){.flush = {.loop = &fixture.loops[0], .on_done = on_flushed}};
    int result = flush_begin(session->device, &ret_asked->flush);
    if (result <= 0)
        on_flushed(&ret_asked->flush, result);
}

static void flush_all(struct session *session)
{
    struct asked asked;
    ask(session, &asked);
    settle();
    ck_assert(asked.done);
    ck_assert_int_eq(asked.result, 0);
}

static unsigned int syncs_held(void)
{
    return t.backends[DISK].syncs_held + t.backends[FIRST].syncs_held +
           t.backends[SECOND].syncs_held;
}

static void end_sync(unsigned int number, int result)
{
    ck_assert_uint_eq(t.backends[number].syncs_held, 1);
    crash_backend_end(&t.backends[number], 0, result);
    (void)fixture_deliver();
}

static void forget_failures(void)
{
    char message[STATE_MESSAGE_MAX];
    settle();
    for (unsigned int i = 0; i < DEVICES; i++) {
        struct state_key key;
        (void)snprintf(key.text, sizeof(key.text), "related-%u", i);
        ck_assert_int_eq(state_clear_failure(fixture.state, &key, message), 0);
    }
}

static void related_teardown(void)
{
    forget_failures();
    session_teardown();
}

/* ---- flushes ---- */

START_TEST(flush_of_the_disk_syncs_what_was_written_through_a_partition)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked asked;
    flush_all(disk);
    write_block(first);
    ask(disk, &asked);
    ck_assert(!asked.done);
    ck_assert_uint_lt(t.backends[FIRST].blocks[0].durable, t.backends[FIRST].blocks[0].written);
    end_sync(FIRST, 0);
    ck_assert(asked.done);
    ck_assert_int_eq(asked.result, 0);
    ck_assert_uint_eq(t.backends[FIRST].blocks[0].durable, t.backends[FIRST].blocks[0].written);
    session_close(first);
    session_close(disk);
}
END_TEST

START_TEST(flush_of_a_partition_syncs_what_was_written_through_the_disk)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked asked;
    flush_all(first);
    write_block(disk);
    ask(first, &asked);
    ck_assert(!asked.done);
    end_sync(DISK, 0);
    ck_assert(asked.done);
    session_close(first);
    session_close(disk);
}
END_TEST

START_TEST(flush_with_nothing_unsynced_anywhere_returns_at_once)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked asked;
    flush_all(disk);
    ask(disk, &asked);
    ck_assert(asked.done);
    ck_assert_uint_eq(syncs_held(), 0);
    ck_assert_uint_eq(disk->device->sync.ledger.elided, 1);
    ck_assert_uint_eq(first->device->sync.ledger.elided, 0);
    session_close(first);
    session_close(disk);
}
END_TEST

START_TEST(partition_that_is_opened_later_is_born_unsynced)
{
    struct session *disk = open_related(DISK);
    struct asked asked;
    flush_all(disk);
    struct session *first = open_related(FIRST);
    ask(disk, &asked);
    ck_assert(!asked.done);
    end_sync(FIRST, 0);
    ck_assert(asked.done);
    session_close(first);
    session_close(disk);
}
END_TEST

START_TEST(other_partition_is_not_synced)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct session *second = open_related(SECOND);
    struct asked asked;
    flush_all(disk);
    write_block(second);
    ask(first, &asked);
    ck_assert(asked.done);
    ck_assert_uint_eq(syncs_held(), 0);
    session_close(first);
    session_close(second);
    session_close(disk);
}
END_TEST

/* What the partition's sync does not cover that runs already waits for its next one. */
START_TEST(write_that_was_acknowledged_while_a_sync_ran_is_covered_by_the_next)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked before;
    struct asked after;
    flush_all(disk);
    write_block(first);
    ask(first, &before);
    write_block(first);
    ask(disk, &after);
    end_sync(FIRST, 0);
    ck_assert(before.done);
    ck_assert(!after.done);
    end_sync(FIRST, 0);
    ck_assert(after.done);
    ck_assert_uint_eq(t.backends[FIRST].blocks[0].durable, t.backends[FIRST].blocks[0].written);
    session_close(first);
    session_close(disk);
}
END_TEST

/* ---- failures ---- */

START_TEST(failed_sync_of_a_partition_is_the_disks_failure)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked asked;
    struct asked early;
    flush_all(disk);
    write_block(first);
    ask(disk, &asked);
    end_sync(FIRST, -ENOSPC);
    ask(disk, &early); /* the failure is being written down */
    settle();
    ck_assert(asked.done && early.done);
    ck_assert_int_eq(asked.result, -ENOSPC);
    ck_assert_int_eq(early.result, -ENOSPC);
    ck_assert_int_eq(disk->device->sync.ledger.failed, -ENOSPC);
    ck_assert_int_eq(first->device->sync.ledger.failed, -ENOSPC);
    session_close(first);
    session_close(disk);
}
END_TEST

START_TEST(failed_sync_of_its_own_fails_the_disk_before_anybody_is_told)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked asked;
    struct asked of_disk;
    flush_all(disk);
    write_block(first);
    ask(first, &asked);
    end_sync(FIRST, -EIO);
    while (!asked.done) {
        fixture_await_mail();
        (void)fixture_deliver();
    }
    ck_assert_int_eq(disk->device->sync.ledger.failed, -EIO);
    ask(disk, &of_disk);
    settle();
    ck_assert_int_eq(of_disk.result, -EIO);
    session_close(first);
    session_close(disk);
}
END_TEST

START_TEST(partition_that_lost_nothing_does_not_fail_with_the_other_one)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct session *second = open_related(SECOND);
    struct asked asked;
    flush_all(disk);
    write_block(first);
    ask(first, &asked);
    end_sync(FIRST, -EIO);
    settle();
    ck_assert_int_eq(disk->device->sync.ledger.failed, -EIO);
    ck_assert_int_eq(second->device->sync.ledger.failed, 0);
    write_block(second);
    flush_all(second);
    session_close(first);
    session_close(second);
    session_close(disk);
}
END_TEST

/* ---- closing ---- */

START_TEST(partition_is_not_closed_while_a_flush_of_the_disk_syncs_it)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    struct asked asked;
    first->asked.sync = SESSION_SYNC_NONE; /* it is not synced for its own sake */
    flush_all(disk);
    write_block(first);
    ask(disk, &asked);
    struct device *device = first->device;
    session_close(first);
    (void)fixture_deliver();
    ck_assert_int_eq(device->registration.state, DEVICE_CLOSING); /* not closed yet */
    end_sync(FIRST, 0);
    ck_assert(asked.done);
    settle();
    ck_assert(t.backends[FIRST].closed);
    session_close(disk);
}
END_TEST

/* Of its own accord it would not be: only sessions with sync `none` wrote. */
START_TEST(partition_is_synced_at_its_close_if_the_disk_stays_open)
{
    struct session *disk = open_related(DISK);
    struct session *first = open_related(FIRST);
    first->asked.sync = SESSION_SYNC_NONE;
    flush_all(disk);
    write_block(first);
    ck_assert(!first->device->sync.at_close);
    session_close(first);
    end_sync(FIRST, 0);
    settle();
    ck_assert(t.backends[FIRST].closed);
    session_close(disk);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("related");
    TCase *tests = tcase_create("related");
    tcase_add_checked_fixture(tests, session_setup, related_teardown);
    tcase_add_test(tests, flush_of_the_disk_syncs_what_was_written_through_a_partition);
    tcase_add_test(tests, flush_of_a_partition_syncs_what_was_written_through_the_disk);
    tcase_add_test(tests, flush_with_nothing_unsynced_anywhere_returns_at_once);
    tcase_add_test(tests, partition_that_is_opened_later_is_born_unsynced);
    tcase_add_test(tests, other_partition_is_not_synced);
    tcase_add_test(tests, write_that_was_acknowledged_while_a_sync_ran_is_covered_by_the_next);
    tcase_add_test(tests, failed_sync_of_a_partition_is_the_disks_failure);
    tcase_add_test(tests, failed_sync_of_its_own_fails_the_disk_before_anybody_is_told);
    tcase_add_test(tests, partition_that_lost_nothing_does_not_fail_with_the_other_one);
    tcase_add_test(tests, partition_is_not_closed_while_a_flush_of_the_disk_syncs_it);
    tcase_add_test(tests, partition_is_synced_at_its_close_if_the_disk_stays_open);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
