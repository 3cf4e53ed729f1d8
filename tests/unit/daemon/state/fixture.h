/* SPDX-License-Identifier: MIT */
/* What tests of the state directory share: one in a temporary place, and looks into its files. */
#ifndef BLKD_TESTS_UNIT_DAEMON_STATE_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_STATE_FIXTURE_H

#include "daemon/state/state.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/state/impl.h"
#include "tests/unit/suite.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static char place[64];
static char directory[96];
static char message[STATE_MESSAGE_MAX];

static inline void make_place(void)
{
    (void)strcpy(place, "/tmp/test-state-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place));
    (void)snprintf(directory, sizeof(directory), "%s/state", place);
    message[0] = '\0';
}

static inline int on_entry(const char *path, const struct stat *info, int kind,
                           struct FTW *position)
{
    (void)info;
    (void)kind;
    (void)position;
    return remove(path);
}

static inline void remove_place(void)
{
    (void)nftw(place, on_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline const char *path_of(const char *name)
{
    static char path[2][512];
    static unsigned int turn;
    char *target = path[turn++ % 2];
    (void)snprintf(target, sizeof(path[0]), "%s/%s", directory, name);
    return target;
}

static inline void write_file(const char *name, const char *text, size_t length)
{
    FILE *file = fopen(path_of(name), "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static inline void read_text(const char *name, char *text, size_t size)
{
    FILE *file = fopen(path_of(name), "re");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    (void)fclose(file);
}

static inline bool is_there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static inline struct state *open_state(void)
{
    struct state *state = NULL;
    int error = state_open(directory, &state, message);
    ck_assert_msg(error == 0, "%d: %s", error, message);
    return state;
}

static inline void refuses(int expected, const char *words)
{
    struct state *state = NULL;
    message[0] = '\0';
    ck_assert_int_eq(state_open(directory, &state, message), expected);
    ck_assert_ptr_null(state);
    ck_assert_msg(strstr(message, words) != NULL, "%s", message);
}

static inline uint64_t take(struct state *state)
{
    uint64_t token = 0;
    int error = state_take_token(state, &token);
    if (error == -EAGAIN) {
        ck_assert_int_eq(state_reserve_tokens(state, message), 0);
        error = state_take_token(state, &token);
    }
    ck_assert_int_eq(error, 0);
    return token;
}

/* Opened and closed once. */
static inline void begin(void)
{
    ck_assert_ptr_null(state_close(open_state()));
}

#endif
