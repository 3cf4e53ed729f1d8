/* SPDX-License-Identifier: MIT */
/*
 * What the daemon must remember when it is killed, in the state directory: the fencing counter and
 * the marks of failed devices.
 *
 *   lock            flock of the daemon that uses the directory; its pid, for messages
 *   fencing         the first token that no earlier daemon can have given out
 *   failed/KEY      one file for each device whose sync failed
 *   record          where the record of this boot is: what is under way (record.h)
 *
 * Files are replaced whole: written under another name, synced, renamed, and the directory synced,
 * so that whenever the machine stops, the old or the new contents are there. What cannot be read
 * is an error at start, never a new beginning: a counter that began again at 1 would fence nobody.
 *
 * Thread-safe. Calls that say so write to the disk and can block: from helper threads only (or
 * before the workers start). All others only look at memory.
 */
#ifndef BLKD_DAEMON_STATE_STATE_H
#define BLKD_DAEMON_STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record_line;
struct state;

enum {
    STATE_KEY_MAX = 192,     /* with its NUL */
    STATE_MESSAGE_MAX = 512, /* why something failed, for a person */
    STATE_PLACE_MAX = 224,
    STATE_PATH_MAX = 256,
};

/* Names a device across restarts so that no other is meant by it (contract L8); letters, digits and
 * "._:-" only. */
struct state_key {
    char text[STATE_KEY_MAX]; /* empty: the device cannot be named so, and nothing is remembered */
};

/* A mark, as it was put. */
struct state_failure {
    int error;        /* a negative errno */
    uint64_t unix_ms; /* when */
    /* What lay where the device was, in one line without control characters; a copy of a device has
     * its key and is elsewhere. Empty: unknown. */
    char place[STATE_PLACE_MAX];
    char path[STATE_PATH_MAX]; /* of a mark that is found: the device's name then, perhaps cut */
};

/*
 * Opens (and makes, mode 0700, with its parents' last component only) the directory, takes its
 * lock, reads what is there and reserves the first block of tokens. Blocks: also as long as the I/O
 * of a killed daemon is still landing, whose rings keep the lock (contract R3).
 *
 * -EBUSY: another daemon uses it and lives, half a second later still; -EUCLEAN: a file in it is
 * damaged; or another negative errno; the reason in message.
 */
int state_open(const char *directory, struct state **ret_state, char message[STATE_MESSAGE_MAX]);
/* Takes NULL; returns NULL. */
struct state *state_close(struct state *state);

/* The descriptor that carries the directory's lock; every ring that does I/O keeps it (engine_pin),
 * so that the lock outlives the process as long as its I/O. */
int state_lock_fd(const struct state *state);

/*
 * Takes the next token, greater than every token that any daemon of this directory gave out before.
 * Does not block. -EAGAIN: the block is used up: state_reserve_tokens on a helper thread, then
 * again.
 */
int state_take_token(struct state *state, uint64_t *ret_token);

/* Whether the block will soon be used up, so that a reservation ahead of time saves a wait. */
bool state_tokens_low(struct state *state);

/* Reserves another block if less than half of one is left. Blocks. 0, or a negative errno with the
 * reason in message. */
int state_reserve_tokens(struct state *state, char message[STATE_MESSAGE_MAX]);

/* Whether the device has failed. Does not block. */
bool state_find_failure(struct state *state, const struct state_key *key,
                        struct state_failure *ret_failure);

/* Puts the mark; an earlier one stays as it is. It is remembered in memory whatever becomes of the
 * file. `path` is kept in the file, for people. Blocks. 0; -ENODATA: the key is empty, and nothing
 * is remembered; or another negative errno, with the reason. */
int state_put_failure(struct state *state, const struct state_key *key, const char *path,
                      const struct state_failure *failure, char message[STATE_MESSAGE_MAX]);

/* Takes the mark away; it is gone for good when this returns 0. Blocks. */
int state_clear_failure(struct state *state, const struct state_key *key,
                        char message[STATE_MESSAGE_MAX]);

/*
 * A device's line in the record of what is under way (contract S10): what an earlier daemon left of
 * it, or a new one. NULL: none is kept, because the device has no key, or there is no memory; all
 * calls below take that. *ret_unsynced: an earlier daemon died with changes of the device unsynced.
 * Does not block for anybody else.
 */
struct record_line *state_take_line(struct state *state, const struct state_key *key,
                                    const char *path, bool *ret_unsynced);

/* The device is closed, with all that is to be known of it elsewhere. Returns NULL. */
struct record_line *state_drop_line(struct state *state, struct record_line *line);

/*
 * A sync (or a change that is to be stable by itself) begins; its result is known, and what follows
 * from that is on the disk. A daemon that dies in between leaves a failed device. Several may be
 * under way at once. Any thread; does not block.
 */
void state_sync_begins(struct record_line *line);
void state_sync_ended(struct record_line *line);

/* Whether the device has changes that a close would have to sync. */
void state_set_unsynced(struct record_line *line, bool unsynced);

#endif
