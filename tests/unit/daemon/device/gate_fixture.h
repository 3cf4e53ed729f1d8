/* SPDX-License-Identifier: MIT */
/* For tests of the gate: a device with two sessions, and transfers through its gate. */
#ifndef BLKD_TESTS_UNIT_DAEMON_DEVICE_GATE_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_DEVICE_GATE_FIXTURE_H

#include "tests/unit/daemon/device/fixture.h"

#include "daemon/device/gate.h"
#include "daemon/device/session.h"

enum { SIZE_BYTES = CRASH_BLOCKS * CRASH_BLOCK_BYTES, BLOCK = CRASH_BLOCK_BYTES };

static const enum io_op changes[] = {IO_WRITE, IO_ZERO, IO_DISCARD};
enum { CHANGES = sizeof(changes) / sizeof(changes[0]) };

static struct {
    struct crash_backend crash;
    struct device *device;
    struct session_owner owner;
    struct lock_party parties[2];
    struct user *user;
    struct session *mine;
    struct session *other;
    struct session_lock lock; /* of one of the two */
    struct gate_ticket ticket;
    struct gate_refusal refusal;
} t;

static inline bool never_reads(struct session_owner *owner)
{
    (void)owner;
    return false;
}

static inline struct session *new_session(unsigned int number, enum session_sync sync)
{
    const struct session_config asked = {.sync = sync};
    const struct session_client client = {.owner = &t.owner,
                                          .loop = &fixture.loops[0],
                                          .user = t.user,
                                          .party = &t.parties[number - 1]};
    lock_party_init(&t.parties[number - 1]);
    struct session *session = session_new(t.device, &client, number, "gate", "", &asked, true);
    ck_assert_ptr_nonnull(session);
    session_enter(session);
    return session;
}

static inline void gate_setup(void)
{
    static const struct session_owner_ops ops = {.may_report = never_reads};
    (void)memset(&t, 0, sizeof(t));
    fixture_setup();
    const struct backend_info info = fixture_info(1);
    crash_backend_init(&t.crash);
    t.device = device_new(&fixture.registry.commons, 1, "gate", &t.crash.backend, &info);
    ck_assert_ptr_nonnull(t.device);
    t.owner.ops = &ops;
    t.user = user_ref(&fixture.users, 0);
    ck_assert_ptr_nonnull(t.user);
    t.mine = new_session(1, SESSION_SYNC_OS);
    t.other = new_session(2, SESSION_SYNC_NONE);
}

static inline void gate_teardown(void)
{
    fixture_settle();
    session_leave(t.mine);
    session_leave(t.other);
    t.mine = session_free(t.mine);
    t.other = session_free(t.other);
    backend_close(&t.crash.backend);
    t.device = device_free(t.device);
    t.user = user_unref(&fixture.users, t.user);
    fixture_forget_failure();
    fixture_teardown();
}

/* ---- steps ---- */

static inline int begin(struct session *session, enum io_op op, uint64_t first_byte,
                        uint64_t end_bytes)
{
    t.refusal = (struct gate_refusal){.bounds = false};
    return gate_begin(t.device, session, op, first_byte, end_bytes, &t.ticket, &t.refusal);
}

/* A transfer of one block that ends with `result`. */
static inline void transfer(struct session *session, enum io_op op, bool fua, int result)
{
    const struct io io = {.op = op, .length_bytes = BLOCK, .fua = fua};
    ck_assert_int_eq(begin(session, op, 0, BLOCK), 0);
    if (fua)
        flush_fua_begins(t.device);
    gate_end(t.device, session, &io, t.ticket, result);
}

/* One whose sync half fails. */
static inline void transfer_unsynced(struct session *session, enum io_op op, int result)
{
    const struct io io = {.op = op, .length_bytes = BLOCK, .fua = true, .sync_failed = true};
    ck_assert_int_eq(begin(session, op, 0, BLOCK), 0);
    flush_fua_begins(t.device);
    gate_end(t.device, session, &io, t.ticket, result);
}

static inline unsigned int in_flight(void)
{
    unsigned int of_sessions =
        drain_gate_count(&t.mine->transfers) + drain_gate_count(&t.other->transfers);
    ck_assert_uint_eq(drain_gate_count(&t.device->transfers), of_sessions);
    return of_sessions;
}

/* What is asked goes through, and leaves nothing. */
static inline void goes_through(struct session *session, enum io_op op, uint64_t first,
                                uint64_t end)
{
    ck_assert_msg(begin(session, op, first, end) == 0, "%s", t.refusal.text);
    ck_assert_uint_eq(in_flight(), 1);
    const struct io io = {.op = op, .length_bytes = end - first};
    gate_end(t.device, session, &io, t.ticket, 0);
    ck_assert_uint_eq(in_flight(), 0);
}

/* What is asked is refused, with a reason, and does not count as in flight. */
static inline void is_refused(struct session *session, enum io_op op, uint64_t first, uint64_t end,
                              int error)
{
    ck_assert_int_eq(begin(session, op, first, end), error);
    ck_assert_uint_gt(strlen(t.refusal.text), 0);
    ck_assert_uint_eq(in_flight(), 0);
}

#endif
