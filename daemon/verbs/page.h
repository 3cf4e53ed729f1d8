/* SPDX-License-Identifier: MIT */
/*
 * One page of a list (devices, sessions, locks): its header stays well within FRAME_HEADER_MAX,
 * however long the paths are. And what of a session may be told to whom.
 */
#ifndef BLKD_DAEMON_VERBS_PAGE_H
#define BLKD_DAEMON_VERBS_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/device/stats.h"
#include "proto/blkd.pb-c.h"

struct peer;
struct session;

enum { PAGE_ENTRIES_MAX = 256 };

/* Paths are copied: their owners may go as soon as the mutexes are released. */
struct page {
    size_t count;
    size_t bytes;
    bool more;
    char *paths[PAGE_ENTRIES_MAX];
};

/*
 * Makes room for one more entry, whose path is paths[*ret_index] from now on. False: it is for the
 * next page. The first one always fits.
 */
bool page_take(struct page *page, const char *path, size_t *ret_index);
void page_deinit(struct page *page);

/* The copied path as the wire wants it. */
ProtobufCBinaryData page_path(const struct page *page, size_t index);

/* Paths and purposes tell of files: who may not name paths is told only those that its own user
 * gave (contract, bad input). */
bool page_tells(const struct session *session, const struct peer *viewer);

void page_fill_counters(Blkd__Counters *counters, const struct stats *stats);

#endif
