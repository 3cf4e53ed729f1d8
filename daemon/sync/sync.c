/* SPDX-License-Identifier: MIT */
/*
 * The sync ledger of one device; sync.h says what it is for.
 *
 * Invariants: durable <= acknowledged, and while a sync runs durable < covering <= acknowledged.
 * Waiters exist only while a sync runs. Those in `current` have targets up to `covering`, those in
 * `next` beyond it. Nothing starts after a failure, and `durable` does not move after it.
 *
 * `durable` only ever moves to `covering`, or, when nothing was unsynced, to `acknowledged`.
 * Therefore a part (and the device, for its times) needs to tell apart only what is in the sync
 * that runs and what came later; no change is remembered by itself.
 */
#include "daemon/sync/sync.h"

#include <assert.h>
#include <stddef.h>

static void acknowledge(struct sync_ledger *ledger, uint64_t now_ms)
{
    if (!sync_unsynced(ledger))
        ledger->unsynced_since_ms = now_ms;
    if (ledger->acknowledged == ledger->covering)
        ledger->later_since_ms = now_ms;
    ledger->acknowledged++;
}

void sync_init(struct sync_ledger *ledger, uint64_t now_ms)
{
    *ledger = (struct sync_ledger){0};
    TAILQ_INIT(&ledger->current);
    TAILQ_INIT(&ledger->next);
    /* Somebody may have written before blkd saw the device: change 1 stands for all of that. */
    acknowledge(ledger, now_ms);
}

void sync_init_failed(struct sync_ledger *ledger, int error, uint64_t failed_ms)
{
    /* What the failed sync lost is not on stable storage since then, at the latest. */
    sync_init(ledger, failed_ms);
    sync_fail(ledger, error, failed_ms);
}

void sync_born_unsynced(struct sync_ledger *ledger, uint64_t now_ms)
{
    acknowledge(ledger, now_ms);
}

/* Brings the part up to what has become of the ledger since it was last looked at. */
static void part_settle(const struct sync_ledger *ledger, struct sync_part *part)
{
    if (part->last_change <= ledger->durable)
        part->covered = part->later = 0;
    if (part->boundary != ledger->covering) {
        /* A sync began in the meantime, after all of the part's changes. The one before it must
         * have succeeded, so that nothing is left of what that covered. */
        part->covered = part->later;
        part->covered_since_ms = part->later_since_ms;
        part->later = 0;
        part->boundary = ledger->covering;
    } else if (part->boundary <= ledger->durable) {
        part->covered = 0;
    }
}

void sync_changed(struct sync_ledger *ledger, struct sync_part *part, uint64_t now_ms)
{
    part_settle(ledger, part);
    acknowledge(ledger, now_ms);
    if (part->later == 0)
        part->later_since_ms = now_ms;
    part->later++;
    part->last_change = ledger->acknowledged;
}

void sync_changed_durably(struct sync_ledger *ledger, struct sync_part *part, uint64_t now_ms)
{
    /* `durable` speaks for all changes up to it, and one before may not be there yet. That also
     * keeps it still while a sync runs, since a sync runs only for what is not durable. */
    if (sync_unsynced(ledger) || ledger->failed != 0)
        sync_changed(ledger, part, now_ms);
    else
        ledger->durable = ++ledger->acknowledged;
}

uint64_t sync_part_unsynced(const struct sync_ledger *ledger, struct sync_part *part,
                            uint64_t *ret_since_ms)
{
    uint64_t since_ms = 0;

    part_settle(ledger, part);
    if (part->covered > 0)
        since_ms = part->covered_since_ms;
    else if (part->later > 0)
        since_ms = part->later_since_ms;
    if (ret_since_ms != NULL)
        *ret_since_ms = since_ms;
    return part->covered + part->later;
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
    ledger->asked++;
    if (ledger->failed != 0) {
        ledger->refused++;
        return SYNC_FAILED;
    }
    if (!sync_unsynced(ledger)) {
        ledger->elided++;
        return SYNC_DONE;
    }
    waiter->target = ledger->acknowledged;
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

static void note_success(struct sync_ledger *ledger, uint64_t now_ms, uint64_t took_us)
{
    ledger->durable = ledger->covering;
    ledger->unsynced_since_ms = sync_unsynced(ledger) ? ledger->later_since_ms : 0;
    ledger->last_sync_ms = now_ms;
    ledger->last_sync_us = took_us;
}

/* No sync will begin for those who wait for the next. */
static void give_up_next(struct sync_ledger *ledger, struct sync_waiter_list *ret_answered)
{
    if (!TAILQ_EMPTY(&ledger->next))
        ledger->refused++;
    TAILQ_CONCAT(ret_answered, &ledger->next, link);
}

bool sync_completed(struct sync_ledger *ledger, int result, uint64_t now_ms, uint64_t took_us,
                    struct sync_waiter_list *ret_answered)
{
    assert(ledger->running);
    ledger->running = false;
    if (took_us > ledger->longest_sync_us)
        ledger->longest_sync_us = took_us;
    if (result < 0)
        sync_fail(ledger, result, now_ms);

    TAILQ_CONCAT(ret_answered, &ledger->current, link);
    if (ledger->failed != 0) {
        give_up_next(ledger, ret_answered);
        return false;
    }
    note_success(ledger, now_ms, took_us);
    TAILQ_CONCAT(&ledger->current, &ledger->next, link);
    if (TAILQ_EMPTY(&ledger->current))
        return false;
    begin(ledger);
    return true;
}

void sync_fail(struct sync_ledger *ledger, int error, uint64_t now_ms)
{
    assert(error < 0);
    if (ledger->failed != 0)
        return;
    ledger->failed = error;
    ledger->failed_ms = now_ms;
}

bool sync_unsynced(const struct sync_ledger *ledger)
{
    return ledger->durable < ledger->acknowledged;
}

uint64_t sync_unsynced_count(const struct sync_ledger *ledger)
{
    return ledger->acknowledged - ledger->durable;
}
