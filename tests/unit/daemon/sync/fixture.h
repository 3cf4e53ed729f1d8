/* SPDX-License-Identifier: MIT */
/* One ledger, new or of a device that is all on stable storage, for the tests of sync.h's rules. */
#ifndef BLKD_TESTS_UNIT_DAEMON_SYNC_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_SYNC_FIXTURE_H

#include <check.h>

#include "daemon/sync/sync.h"

/* When a test does not care, and when and how the sync of setup_clean ended. */
enum { BORN_MS = 5, CLEAN_MS = 10, CLEAN_US = 700, NOW_MS = 20 };

struct fixture {
    struct sync_ledger ledger;
    struct sync_part mine, other;
    struct sync_waiter a, b, c, d;
    struct sync_waiter_list answered;
};

static struct fixture f;

static inline void setup(void)
{
    f = (struct fixture){0};
    sync_init(&f.ledger, BORN_MS);
    TAILQ_INIT(&f.answered);
}

static inline void change_at(struct sync_part *part, uint64_t now_ms)
{
    sync_changed(&f.ledger, part, now_ms);
}

static inline void change(void)
{
    change_at(&f.mine, NOW_MS);
}

static inline bool complete(int result)
{
    return sync_completed(&f.ledger, result, NOW_MS, 1, &f.answered);
}

/* A device of which everything is on stable storage. */
static inline void setup_clean(void)
{
    setup();
    ck_assert_int_eq(sync_flush(&f.ledger, &f.a), SYNC_START);
    ck_assert(!sync_completed(&f.ledger, 0, CLEAN_MS, CLEAN_US, &f.answered));
    ck_assert(!sync_unsynced(&f.ledger));
    f.ledger.issued = f.ledger.asked = 0;
    TAILQ_INIT(&f.answered);
}

#endif
