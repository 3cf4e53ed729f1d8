/* SPDX-License-Identifier: MIT */
/*
 * A device's syncs (contract S3 to S5): the ledger (sync/sync.h) decides which flush is covered by
 * which sync; here they are started, and those who wait are told. A sync belongs to the device, not
 * to the flush that started it.
 *
 * A device has a page cache of its own, and what is written through one that shares bytes with it
 * lies in that one's (the kernel has one for each block device's inode: a sync of a disk does not
 * write what is dirty of its partitions). So a flush is one of all open devices that share bytes
 * with it: each has a sync of its own where its ledger says that something is unsynced. And what
 * one of them has lost, they all have: they fail together.
 *
 * A failure is put into the state directory before anybody is told of it: a daemon that is killed
 * after a client has seen the error must not have forgotten it when it comes back. A daemon that is
 * killed before it knows a sync's result leaves that in the record (contract S10): the sync counts
 * as under way there until its success is known, or its failure is on the disk.
 */
#ifndef BLKD_DAEMON_DEVICE_FLUSH_H
#define BLKD_DAEMON_DEVICE_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/storage/backend.h"
#include "daemon/sync/sync.h"

struct device;

/* One flush's part in the device's syncs; embedded in whatever asks for it. */
struct flush {
    struct io_loop *loop;
    struct helper_share *user_share;                  /* of who asks; outlasts on_done */
    void (*on_done)(struct flush *flush, int result); /* on `loop` */

    struct sync_waiter waiter;
    struct letter letter;
    int result;
    struct device *device; /* whose flush it is, while another that shares its bytes is synced */
    uint64_t related;      /* the number of that one, or of the last that was */
};

/* Embedded in a device; under its mutex. */
struct flushing {
    struct sync_ledger ledger;
    bool at_close;  /* a session with a sync level has changed something since the last sync */
    bool ended;     /* its backend is about to be closed: no sync begins any more */
    bool inherited; /* it failed because one that shares bytes with it did */
    struct record_line *line; /* what a successor of this daemon is to know; NULL: nothing */
    bool mark_lost;           /* the failure's mark could not be put: the line stays instead */
    struct io io;             /* the sync that runs */
    uint64_t began_ns;        /* when that was */
    char *doubt;    /* constant: that the mark it was opened with may be another's; or NULL */
    bool mark_kept; /* the failure's mark is in the state directory */
    struct loop *mark_loop; /* NULL: no mark is on its way or there by this daemon */
    struct helper_job mark_job;
    struct sync_waiter_list mark_waiters; /* who is told when it is there */
};

/* Knows by the state directory whether the device has failed before, and by the record whether an
 * earlier daemon died before it was synced. */
void flush_init(struct device *device);
/* The device is closed. */
void flush_deinit(struct device *device);

/* A session with a sync level has changed something: the last close syncs it. With the mutex held.
 */
void flush_sync_at_close(struct device *device);

/* A change that is to be stable by itself begins and ends; its failure was told by flush_fail
 * before. */
void flush_fua_begins(struct device *device);
void flush_fua_ended(struct device *device);

/* The failure is recovered from, and its mark gone. */
void flush_recovered(struct device *device);

/*
 * Makes everything stable that was acknowledged before now, on it and on the open devices that
 * share bytes with it (contract S3, S4). Returns 0: it is so already; 1: flush->on_done will tell;
 * or the negative errno that the device failed with.
 */
int flush_begin(struct device *device, struct flush *flush);

/* Whether a flush now would issue a sync, of a device that has not failed. With what
 * relations_enter takes. */
bool flush_would_sync(const struct device *device);

/*
 * The device has no sessions any more and is to be closed: as flush_begin, of its own changes only,
 * and only if one is needed (contract S7): a session with a sync level has changed something, or
 * another device's flush relies on it. After 0 no sync begins on it any more.
 */
int flush_end(struct device *device, struct flush *flush);

/* The device failed by another way than a sync (a FUA write). With the mutex held. */
void flush_fail(struct device *device, struct loop *loop, int error);

/* Those that share bytes with a failed device fail as well, if it has lost any: also before a
 * change is acknowledged that was in flight when it failed, which no sync will cover. Without the
 * mutexes. */
void flush_fail_related(struct device *device, struct loop *loop);

/* Whether the mark of the device's failure is still on its way to the disk; if so, wait->on_done
 * follows when it is there: who is to be told of the failure waits for that. */
bool flush_await_mark(struct device *device, struct flush *wait);

#endif
