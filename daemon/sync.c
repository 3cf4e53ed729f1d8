/* SPDX-License-Identifier: MIT */
/*
 * The sync ledger of one device; sync.h says what it is for.
 *
 * Invariants: durable <= acknowledged, and while a sync runs durable < covering <= acknowledged.
 * Waiters exist only while a sync runs. Those in `current` have targets up to `covering`, those in
 * `next` beyond it. Nothing starts after a failure, and `durable` does not move after it.
 */
#include "daemon/sync.h"

#include <assert.h>
#include <stddef.h>

void sync_init(struct sync_ledger *ledger)
{
    /* Somebody may have written before blkd saw the device: change 1 stands for all of that. */
    *ledger = (struct sync_ledger){.acknowledged = 1};
    TAILQ_INIT(&ledger->current);
    TAILQ_INIT(&ledger->next);
}

void sync_changed(struct sync_ledger *ledger)
{
    ledger->acknowledged++;
}

void sync_changed_durably(struct sync_ledger *ledger)
{
    bool nothing_before = !sync_unsynced(ledger);

    ledger->acknowledged++;
    /* Only then: `durable` speaks for all changes up to it, and one before is not there yet. That
     * also keeps it still while a sync runs, since a sync runs only for what is not durable. */
    if (nothing_before && ledger->failed == 0)
        ledger->durable = ledger->acknowledged;
}

/* What is acknowledged by now is complete, so a sync that begins after this covers it. */
static void begin(struct sync_ledger *ledger)
{
    ledger->running = true;
    ledger->covering = ledger->acknowledged;
    ledger->issued++;
}

static enum sync_verdict wait_for_next(struct sync_ledger *ledger, struct sync_waiter *waiter)
{
    /* The first is the one whose sync it will be, and counts as issued when that begins. */
    if (!TAILQ_EMPTY(&ledger->next))
        ledger->shared++;
    TAILQ_INSERT_TAIL(&ledger->next, waiter, link);
    return SYNC_WAIT;
}

enum sync_verdict sync_flush(struct sync_ledger *ledger, struct sync_waiter *waiter)
{
    if (ledger->failed != 0)
        return SYNC_FAILED;
    waiter->target = ledger->acknowledged;
    if (waiter->target <= ledger->durable) {
        ledger->elided++;
        return SYNC_DONE;
    }
    /* The running sync began before some of the changes that this flush speaks of. */
    if (ledger->running && waiter->target > ledger->covering)
        return wait_for_next(ledger, waiter);

    TAILQ_INSERT_TAIL(&ledger->current, waiter, link);
    if (ledger->running) {
        ledger->shared++;
        return SYNC_WAIT;
    }
    begin(ledger);
    return SYNC_START;
}

bool sync_completed(struct sync_ledger *ledger, int result, struct sync_waiter_list *ret_answered)
{
    assert(ledger->running);
    ledger->running = false;
    if (result < 0)
        sync_fail(ledger, result);

    TAILQ_CONCAT(ret_answered, &ledger->current, link);
    if (ledger->failed != 0) {
        TAILQ_CONCAT(ret_answered, &ledger->next, link);
        return false;
    }
    ledger->durable = ledger->covering;
    if (TAILQ_EMPTY(&ledger->next))
        return false;
    TAILQ_CONCAT(&ledger->current, &ledger->next, link);
    begin(ledger);
    return true;
}

void sync_fail(struct sync_ledger *ledger, int error)
{
    assert(error < 0);
    if (ledger->failed == 0)
        ledger->failed = error;
}

bool sync_unsynced(const struct sync_ledger *ledger)
{
    return ledger->durable < ledger->acknowledged;
}
