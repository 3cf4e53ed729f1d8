/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room share, for them only. state.c makes, opens and closes the directory,
 * and uses the others: lock.c keeps other daemons out, fencing.c has the counter, failures.c the
 * marks, record.c what is under way. Those rest on file.h and on nothing else of the room.
 */
#ifndef BLKD_DAEMON_STATE_IMPL_H
#define BLKD_DAEMON_STATE_IMPL_H

#include <pthread.h>
#include <stdint.h>

#include "daemon/state/file.h"
#include "daemon/state/record.h"
#include "daemon/state/state.h"

enum {
    STATE_TOKEN_BLOCK = 1024,
    STATE_FAILURES_MAX = 4096, /* marks that are written; more are in memory only */
};

#define STATE_LOCK_FILE "lock"
#define STATE_FENCING_FILE "fencing"
#define STATE_FAILED_DIRECTORY "failed"
#define STATE_RECORD_FILE "record"

struct state_mark;

/* The block of tokens that is in use. All members: under state.memory; `end` changes only with
 * state.disk held as well. */
struct state_tokens {
    uint64_t next;
    uint64_t end; /* on disk: no token from here on has been given out */
};

/*
 * All members are constant between state_open and state_close, except `tokens`, `marks` and
 * `record`: those are under `memory`, which is never held over a call that can block. Who changes
 * files has `disk`, and takes it before `memory`.
 */
struct state {
    char *path;
    char *failed_path;
    struct state_place place;
    struct state_place failed;
    int lock_fd;
    pthread_mutex_t disk;
    pthread_mutex_t memory;
    struct state_tokens tokens;
    struct state_mark *marks; /* failures.c's */
    struct record record;
};

/* Takes the directory's lock, and waits for a dead daemon's I/O (-EBUSY: a daemon that lives). */
int state_lock_take(const struct state_place *place, int *ret_fd, char message[STATE_MESSAGE_MAX]);
void state_lock_release(int fd);

/* What stands in the file of the counter. -ENOENT: there is none, without a message; -EUCLEAN: it
 * is damaged. */
int fencing_read(const struct state_place *place, uint64_t *ret_next,
                 char message[STATE_MESSAGE_MAX]);
int fencing_write(const struct state_place *place, uint64_t next, char message[STATE_MESSAGE_MAX]);

/* Makes the table of marks from the files. Before threads start. */
int failures_load(struct state *state, char message[STATE_MESSAGE_MAX]);
void failures_free(struct state *state);

#endif
