/* SPDX-License-Identifier: MIT */
/*
 * Runs blkd-cli, the program ($BLKD_CLI), against a fake daemon, and checks what it printed.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_CLI_PROGRAM_H
#define BLKD_TESTS_UNIT_CLIENT_CLI_PROGRAM_H

#include <sys/types.h>

#include "tests/unit/client/lib/fake_daemon.h"

enum { PROGRAM_OUTPUT_MAX = 16384 };

struct run {
    pid_t pid;
    int in_fd, out_fd, err_fd; /* nothing is written to its stdin, which stays open */
    char out[PROGRAM_OUTPUT_MAX], err[PROGRAM_OUTPUT_MAX];
    size_t out_bytes, err_bytes;
    int code; /* once it is over */
};

extern struct fake fake; /* the daemon of the current run */
extern struct run run;

/* The arguments, up to NULL. The fake daemon is started before. */
void program_start(const char *const *words);

#define START(...) program_start((const char *const[]){__VA_ARGS__, NULL})

/* Until stdout or stderr contains this text. */
void program_wait_for(const char *text);

/* Until the program has ended; stops the fake daemon, too. */
void program_finish(void);

void check_code(int expected);
void check_has(const char *output, const char *part);
void check_lacks(const char *output, const char *part);

/* Runs the program to its end, with a daemon that serves requests by `handler`. */
#define RUN(handler, ...)                                                                          \
    do {                                                                                           \
        fake_init(&fake);                                                                          \
        fake.on_request = (handler);                                                               \
        fake_start(&fake);                                                                         \
        START(__VA_ARGS__);                                                                        \
        program_finish();                                                                          \
    } while (0)

#endif
