/* SPDX-License-Identifier: MIT */
/*
 * The record of what is under way (contract S10): a line for each open device, in shared memory
 * that outlives the daemon. A daemon that is killed in the middle of a sync may be the only one to
 * whom the kernel has told that it failed. So its successor reads here for which devices one was
 * under way, and which had changes that were not synced.
 *
 * The memory is a file on tmpfs, never on a disk, where a store into a mapped page can wait for the
 * file system. The state directory's file `record` says which one: "blkd-record 1 BOOT PATH". It
 * ends with the boot, as what it tells about does. A daemon that stops with all devices closed
 * removes both.
 *
 * Room for a line is allocated before the line is used, so that no store finds the file system
 * full.
 */
#ifndef BLKD_DAEMON_STATE_RECORD_H
#define BLKD_DAEMON_STATE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/state/file.h"

struct record_line;

/* Under state.memory, but for the bits of a line in use, which are its device's. */
struct record {
    char *path; /* NULL: no record is kept */
    int fd;
    struct record_page *page; /* the whole file, mapped */
    size_t line_count;        /* for how many there is room in the file */
    uint32_t *spare;          /* numbers of lines that nobody uses */
    size_t spare_count;
    size_t orphan_count; /* lines that an earlier daemon left */
};

/* Takes over what an earlier daemon of this boot left, or begins a new record. Without a place on
 * tmpfs, or on any other failure, the log says what is not known then, and the daemon goes on
 * without. Blocks. */
void record_open(struct record *record, const struct state_place *place);

/* Removes a record that says nothing. Blocks. */
void record_close(struct record *record, const struct state_place *place);

/* Calls `visit` for each line of a device for which a sync was under way. When it returns true,
 * what the line told is kept elsewhere. */
void record_each_died(struct record *record,
                      bool (*visit)(const struct state_key *key, const char *path, void *user_data),
                      void *user_data);

#endif
