/* SPDX-License-Identifier: MIT */
/*
 * Small files that are replaced whole. Whatever is cut short (the process, the machine), the file
 * has its old or its new contents, and what a call that succeeded did is there for good.
 *
 * The new contents are written to ~NAME in the same directory, synced, renamed over NAME, and the
 * directory is synced. A ~NAME that a crash left behind means nothing, and is swept away.
 *
 * Every call that fails says in `message` what was tried, on what, why it failed, what to do.
 */
#ifndef BLKD_DAEMON_STATE_FILE_H
#define BLKD_DAEMON_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/state/state.h"

/* A directory of such files; its path is for messages only. */
struct state_place {
    int fd;
    const char *path;
};

/* Says "cannot VERB PATH/NAME: WHY: WHAT TO DO" in message (NAME may be ""); returns error. */
int file_explain(int error, const char *verb, const struct state_place *place, const char *name,
                 char message[STATE_MESSAGE_MAX]);

/* Reads the text into buffer, with a NUL behind. 0; -ENOENT, without a message; -EFBIG: does not
 * fit; -EILSEQ: has a NUL in it; or another negative errno. */
int file_read(const struct state_place *place, const char *name, char *buffer, size_t size,
              char message[STATE_MESSAGE_MAX]);

/* 0 or a negative errno: then the contents are the old or the new ones. */
int file_replace(const struct state_place *place, const char *name, const char *text, size_t length,
                 char message[STATE_MESSAGE_MAX]);

/* Removes the file for good; one that is not there is no error, and for good too then. */
int file_remove(const struct state_place *place, const char *name, char message[STATE_MESSAGE_MAX]);

/* Makes what was done to the directory's names last. */
int file_sync_names(const struct state_place *place, char message[STATE_MESSAGE_MAX]);

/* Calls `visit` for each name but those of leftovers, which are removed; stops at its first error.
 */
int file_sweep(const struct state_place *place,
               int (*visit)(const char *name, void *user_data, char *message), void *user_data,
               char message[STATE_MESSAGE_MAX]);

#endif
