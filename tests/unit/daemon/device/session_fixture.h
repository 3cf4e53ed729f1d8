/* SPDX-License-Identifier: MIT */
/* For tests of sessions and the registry: an owner that writes down what it is told, and devices
 * over storage whose verbs the test ends. */
#ifndef BLKD_TESTS_UNIT_DAEMON_DEVICE_SESSION_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_DEVICE_SESSION_FIXTURE_H

#include "tests/unit/daemon/device/fixture.h"

#include "common/container.h"
#include "daemon/device/hold.h"
#include "daemon/device/session.h"

enum { DEVICES = 3 };

static struct {
    struct crash_backend backends[DEVICES];
    struct user *user;
    struct lock_party party;

    /* The owner, and what it was told. */
    struct session_owner owner;
    bool client_reads;
    unsigned int reports;
    struct session_report report; /* the last one */
    unsigned int evicted;
    unsigned int gone;
    int locks;                /* by on_locks_changed */
    int locks_when_gone;      /* the same, when the last session went */
    enum lock_mode lock_left; /* on its device, then */
    enum guard_mode guard_left;

    /* What the sink was told. */
    unsigned int closings;
    unsigned int evictions;
    unsigned int devices_closed;
} t;

static inline bool on_may_report(struct session_owner *owner)
{
    (void)owner;
    return t.client_reads;
}

static inline void on_report(struct session_owner *owner, const struct session *session,
                             const struct session_report *report)
{
    (void)owner;
    (void)session;
    t.reports++;
    t.report = *report;
}

static inline void on_evicted(struct session_owner *owner, const struct session *session)
{
    (void)owner;
    ck_assert(!session->life.closing);
    ck_assert_uint_eq(t.gone, 0);
    t.evicted++;
}

static inline void on_locks_changed(struct session_owner *owner, int change)
{
    (void)owner;
    t.locks += change;
    ck_assert_int_ge(t.locks, 0);
}

static inline void on_gone(struct session_owner *owner, struct session *session)
{
    (void)owner;
    t.gone++;
    t.locks_when_gone = t.locks;
    t.lock_left = lock_table_mode(&session->device->locks);
    t.guard_left = session->device->guard.kept;
}

static inline void on_happening(struct happening_sink *sink, enum happening_what what,
                                const struct device *device, const struct session *session,
                                const struct happening_detail *detail)
{
    (void)sink;
    (void)device;
    (void)session;
    (void)detail;
    t.closings += what == HAPPENING_SESSION_CLOSED;
    t.evictions += what == HAPPENING_EVICTED;
    t.devices_closed += what == HAPPENING_DEVICE_CLOSED;
}

static inline void session_setup(void)
{
    static const struct session_owner_ops ops = {
        .may_report = on_may_report,
        .report = on_report,
        .on_evicted = on_evicted,
        .on_locks_changed = on_locks_changed,
        .on_gone = on_gone,
    };
    (void)memset(&t, 0, sizeof(t));
    fixture_setup();
    fixture.sink.publish = on_happening;
    t.owner.ops = &ops;
    t.client_reads = true;
    t.user = user_ref(&fixture.users, 0);
    ck_assert_ptr_nonnull(t.user);
    lock_party_init(&t.party);
    for (unsigned int i = 0; i < DEVICES; i++)
        crash_backend_init(&t.backends[i]);
}

/* All that is under way ends, the verbs of the storage with success. */
static inline void settle(void)
{
    bool any = false;
    do {
        any = false;
        for (unsigned int i = 0; i < DEVICES; i++) {
            for (; t.backends[i].held_count > 0; any = true)
                crash_backend_end(&t.backends[i], 0, 0);
        }
        any = fixture_deliver() || any;
        if (!any && fixture.loops[0].base.pending > 0) {
            fixture_await_mail();
            any = true;
        }
    } while (any);
}

static inline void session_teardown(void)
{
    settle();
    t.user = user_unref(&fixture.users, t.user);
    fixture_forget_failure();
    fixture_teardown();
}

/* ---- steps ---- */

/* Claims the device `number` with the backend of that index. */
static inline enum registry_verdict claim(struct claim *claim, unsigned int number,
                                          struct device **ret_device)
{
    const struct backend_info info = fixture_info(number);
    claim->loop = &fixture.loops[0].base;
    return registry_claim(&fixture.registry, claim, "disk", &t.backends[number].backend, &info,
                          ret_device);
}

/* A session of a claimed device, as an open makes it. */
static inline struct session *enter(struct device *device)
{
    const struct session_config asked = {.sync = SESSION_SYNC_OS};
    const struct session_client client = {
        .owner = &t.owner, .loop = &fixture.loops[0], .user = t.user, .party = &t.party};
    struct session *session = session_new(device, &client, registry_next_session(&fixture.registry),
                                          "disk", "", &asked, true);
    ck_assert_ptr_nonnull(session);
    session_enter(session);
    registry_add_session(&fixture.registry, session);
    return session;
}

/* The first session of a device of its own. */
static inline struct session *open_session(void)
{
    struct claim opener = {.resized = registry_resized(&fixture.registry)};
    struct device *device = NULL;
    ck_assert_int_eq(claim(&opener, 0, &device), REGISTRY_NEW);
    return enter(device);
}

#endif
