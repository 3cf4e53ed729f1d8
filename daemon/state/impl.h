/* SPDX-License-Identifier: MIT */
/*
 * What the files of the state directory's implementation share: state.c (life), state_lock.c,
 * state_fencing.c, state_failures.c.
 */
#ifndef BLKD_DAEMON_STATE_IMPL_H
#define BLKD_DAEMON_STATE_IMPL_H

#include <pthread.h>
#include <stdint.h>

#include "daemon/state/file.h"
#include "daemon/state/state.h"

enum {
    STATE_TOKEN_BLOCK = 1024,
    STATE_FAILURES_MAX = 4096, /* marks that are written; more are in memory only */
};

#define STATE_LOCK_FILE "lock"
#define STATE_FENCING_FILE "fencing"
#define STATE_FAILED_DIRECTORY "failed"

struct state_mark;

struct state {
    char *path;
    char *failed_path;
    struct state_place place;
    struct state_place failed;
    int lock_fd;
    pthread_mutex_t disk;   /* who changes files; taken before `memory` */
    pthread_mutex_t memory; /* what is below; never held over a call that can block */
    uint64_t next_token;
    uint64_t end_token; /* on disk: no token from here on has been given out */
    struct state_mark *marks;
};

/* Takes the directory's lock, and waits for a dead daemon's I/O (-EBUSY: a daemon that lives). */
int state_lock_take(const struct state_place *place, int *ret_fd, char message[STATE_MESSAGE_MAX]);
void state_lock_release(int fd);

/* What stands in the file. -ENOENT: there is none, without a message; -EUCLEAN: it is damaged. */
int state_fencing_read(const struct state_place *place, uint64_t *ret_next,
                       char message[STATE_MESSAGE_MAX]);
int state_fencing_write(const struct state_place *place, uint64_t next,
                        char message[STATE_MESSAGE_MAX]);

/* Before threads start. */
int state_failures_load(struct state *state, char message[STATE_MESSAGE_MAX]);
void state_failures_free(struct state *state);

#endif
