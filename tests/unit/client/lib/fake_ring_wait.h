/* SPDX-License-Identifier: MIT */
/*
 * What tests of waiting for libblkd's rings share: calls that are counted, and a daemon that holds
 * its answers back until it is poked.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_RING_WAIT_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_RING_WAIT_H

#include "tests/unit/client/lib/fake_ring_scene.h"
#include "tests/unit/suite.h"

static int called, failed;

static inline void setup_calls(void)
{
    setup();
    called = failed = 0;
}

static inline void begin_rings(void)
{
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), 0); /* the rings are there */
}

static inline void on_called(void *user_data, int result)
{
    bool *one_called = user_data;

    called++;
    if (one_called != NULL)
        *one_called = true;
    if (result < 0)
        failed = result;
}

static inline void dispatch_until(int count)
{
    while (called < count)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
}

static inline void hold(struct fake *daemon)
{
    fake_ring_of(daemon)->holds = true;
    fake_ring_tell(daemon); /* so that the test knows */
}

/* Lets the daemon serve what it holds, now and from now on. */
static inline void serve_held(struct fake *daemon)
{
    fake_ring_of(daemon)->holds = false;
    fake_ring_serve_held(daemon);
}

/* From now on submissions stay unanswered until fake_ring_poke. */
static inline void begin_held(void)
{
    fake_rings.on_poke = hold;
    begin_rings();
    fake_ring_poke();
    ck_assert(fake_is_readable(connection, -1));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
    fake_rings.on_poke = serve_held;
}

#endif
