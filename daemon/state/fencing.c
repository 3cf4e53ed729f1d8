/* SPDX-License-Identifier: MIT */
/*
 * The counter of fencing tokens. On disk stands the first token that nobody can have been given:
 * the end of the block that is in use. A block is used only after the end of it is durable, so a
 * crash at any moment skips tokens, and never gives one out again.
 *
 * The file is one line, "blkd-fencing 1 NEXT NEXT". The number stands there twice, and the line is
 * taken only if it is to the byte what would have been written: so a file that was cut, or whose
 * number was damaged, is not taken for another number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/state/impl.h"

enum { FENCING_TEXT_MAX = 128 };

/* No daemon comes so far; and so a sum with blocks does not overflow. */
#define FENCING_MAX (UINT64_MAX / 2)

static int fencing_format(uint64_t next, char text[FENCING_TEXT_MAX])
{
    return snprintf(text, FENCING_TEXT_MAX, "blkd-fencing 1 %" PRIu64 " %" PRIu64 "\n", next, next);
}

static int fencing_damaged(const struct state_place *place, char message[STATE_MESSAGE_MAX])
{
    (void)snprintf(message, STATE_MESSAGE_MAX,
                   "%s/" STATE_FENCING_FILE
                   " is damaged: restore it, or write the line \"blkd-fencing 1 N N\" to it, with "
                   "N greater than every fencing token ever issued",
                   place->path);
    return -EUCLEAN;
}

int fencing_read(const struct state_place *place, uint64_t *ret_next,
                 char message[STATE_MESSAGE_MAX])
{
    char text[FENCING_TEXT_MAX];
    char expected[FENCING_TEXT_MAX];
    uint64_t next = 0;
    int error = file_read(place, STATE_FENCING_FILE, text, sizeof(text), message);
    if (error == -EFBIG || error == -EILSEQ)
        return fencing_damaged(place, message);
    if (error < 0)
        return error;
    if (sscanf(text, "blkd-fencing 1 %" SCNu64, &next) != 1 || next == 0 || next > FENCING_MAX)
        return fencing_damaged(place, message);
    (void)fencing_format(next, expected);
    if (strcmp(text, expected) != 0)
        return fencing_damaged(place, message);
    *ret_next = next;
    return 0;
}

int fencing_write(const struct state_place *place, uint64_t next, char message[STATE_MESSAGE_MAX])
{
    char text[FENCING_TEXT_MAX];
    int length = fencing_format(next, text);
    return file_replace(place, STATE_FENCING_FILE, text, (size_t)length, message);
}

int state_take_token(struct state *state, uint64_t *ret_token)
{
    int error = -EAGAIN;
    pthread_mutex_lock(&state->memory);
    if (state->tokens.next < state->tokens.end) {
        *ret_token = state->tokens.next++;
        error = 0;
    }
    pthread_mutex_unlock(&state->memory);
    return error;
}

bool state_tokens_low(struct state *state)
{
    pthread_mutex_lock(&state->memory);
    bool low = state->tokens.end - state->tokens.next < STATE_TOKEN_BLOCK / 2;
    pthread_mutex_unlock(&state->memory);
    return low;
}

int state_reserve_tokens(struct state *state, char message[STATE_MESSAGE_MAX])
{
    int error = 0;
    pthread_mutex_lock(&state->disk);
    if (state_tokens_low(state)) {
        /* Only who has `disk` moves the end. */
        error = fencing_write(&state->place, state->tokens.end + STATE_TOKEN_BLOCK, message);
        if (error == 0) {
            pthread_mutex_lock(&state->memory);
            state->tokens.end += STATE_TOKEN_BLOCK;
            pthread_mutex_unlock(&state->memory);
        }
    }
    pthread_mutex_unlock(&state->disk);
    return error;
}
