/* SPDX-License-Identifier: MIT */
/* For tests of devices without a daemon: what devices share (commons.h), a state directory, and two
 * loops that no thread runs, whose mailboxes the test drains. */
#ifndef BLKD_TESTS_UNIT_DAEMON_DEVICE_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_DEVICE_FIXTURE_H

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/device/device.h"
#include "daemon/device/registry.h"
#include "daemon/state/state.h"
#include "tests/unit/daemon/device/crash_backend.h"
#include "tests/unit/suite.h"

enum { FIXTURE_LOOPS = 2, FIXTURE_LOCKS_PER_UID = 64 };

static struct {
    struct registry registry;
    struct user_table users;
    struct happening_sink sink; /* forgets what it is told */
    struct state *state;
    struct helper_pool *helpers;
    struct io_loop loops[FIXTURE_LOOPS];
    struct io_loop *loop_pointers[FIXTURE_LOOPS];
    char directory[64];
    struct state_key key; /* of every device of fixture_info */
} fixture;

static inline void fixture_ignore(struct happening_sink *sink, enum happening_what what,
                                  const struct device *device, const struct session *session,
                                  const struct happening_detail *detail)
{
    (void)sink;
    (void)what;
    (void)device;
    (void)session;
    (void)detail;
}

static inline void fixture_setup(void)
{
    char message[STATE_MESSAGE_MAX] = "";
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(fixture.directory, sizeof(fixture.directory), "%s/test-device-XXXXXX", memory);
    ck_assert_ptr_nonnull(mkdtemp(fixture.directory));
    (void)snprintf(fixture.key.text, sizeof(fixture.key.text), "device-test");
    log_init(LOG_LEVEL_ERROR);
    ck_assert_msg(state_open(fixture.directory, &fixture.state, message) == 0, "%s", message);
    ck_assert_int_eq(helper_new(2, "helper", &fixture.helpers), 0);
    user_table_init(&fixture.users);
    fixture.sink.publish = fixture_ignore;
    for (unsigned int i = 0; i < FIXTURE_LOOPS; i++) {
        ck_assert_int_eq(loop_init(&fixture.loops[i].base, fixture.helpers), 0);
        fixture.loop_pointers[i] = &fixture.loops[i];
    }
    const struct commons commons = {.state = fixture.state,
                                    .users = &fixture.users,
                                    .sink = &fixture.sink,
                                    .loops = fixture.loop_pointers,
                                    .loop_count = FIXTURE_LOOPS,
                                    .locks_per_uid = FIXTURE_LOCKS_PER_UID};
    registry_init(&fixture.registry, &commons);
}

static inline void fixture_remove(const char *name)
{
    char path[sizeof(fixture.directory) + 32];
    (void)snprintf(path, sizeof(path), "%s/%s", fixture.directory, name);
    (void)remove(path);
}

static inline void fixture_teardown(void)
{
    for (unsigned int i = 0; i < FIXTURE_LOOPS; i++)
        loop_deinit(&fixture.loops[i].base);
    fixture.helpers = helper_free(fixture.helpers);
    registry_deinit(&fixture.registry);
    user_table_deinit(&fixture.users);
    fixture.state = state_close(fixture.state);
    fixture_remove("failed");
    fixture_remove("fencing");
    fixture_remove("lock");
    fixture_remove("");
}

/* A device of as many bytes as the backend has blocks for; `number` tells it from others. */
static inline struct backend_info fixture_info(unsigned int number)
{
    struct backend_info info = {.identity = {.kind = DEVICE_FILE, .dev = 1, .inode = number},
                                .kind = DEVICE_FILE,
                                .size_bytes = CRASH_BLOCKS * CRASH_BLOCK_BYTES,
                                .read_write = true,
                                .granule_bytes = CRASH_BLOCK_BYTES};
    (void)strcpy(info.key.text, fixture.key.text);
    return info;
}

/* Waits until there is mail for one of the loops. */
static inline void fixture_await_mail(void)
{
    struct pollfd ready[FIXTURE_LOOPS];
    for (unsigned int i = 0; i < FIXTURE_LOOPS; i++)
        ready[i] =
            (struct pollfd){.fd = mailbox_fd(&fixture.loops[i].base.mailbox), .events = POLLIN};
    ck_assert_msg(poll(ready, FIXTURE_LOOPS, 60000) > 0, "what is under way never ends");
}

/* Delivers what letters there are, and those that follow from them at once; whether any were. */
static inline bool fixture_deliver(void)
{
    bool any = false;
    unsigned int delivered = 0;
    do {
        delivered = 0;
        for (unsigned int i = 0; i < FIXTURE_LOOPS; i++)
            delivered += mailbox_drain(&fixture.loops[i].base.mailbox);
        any = any || delivered > 0;
    } while (delivered > 0);
    return any;
}

/* Delivers letters until nothing is under way that holds a loop. */
static inline void fixture_settle(void)
{
    (void)fixture_deliver();
    while (fixture.loops[0].base.pending > 0 || fixture.loops[1].base.pending > 0) {
        fixture_await_mail();
        (void)fixture_deliver();
    }
}

/* The mark of a failure goes, so that the state directory can. */
static inline void fixture_forget_failure(void)
{
    char message[STATE_MESSAGE_MAX];
    ck_assert_int_eq(state_clear_failure(fixture.state, &fixture.key, message), 0);
}

#endif
