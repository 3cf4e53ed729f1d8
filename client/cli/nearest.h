/* SPDX-License-Identifier: MIT */
/*
 * "Did you mean": the candidate that differs from a mistyped word by the fewest typing errors. A
 * letter too many, too few or wrong is an error, and so are two letters in the wrong order. Pure.
 */
#ifndef BLKD_CLI_NEAREST_H
#define BLKD_CLI_NEAREST_H

#include <stddef.h>

enum {
    NEAREST_WORD_MAX = 32, /* longer words have no near candidates */
};

struct nearest {
    const char *word;
    size_t length;
    const char *best; /* NULL: no candidate is near enough */
    size_t best_errors;
};

/* The first `length` characters of `word` count; it outlives `nearest`. */
void nearest_init(struct nearest *nearest, const char *word, size_t length);

/* Compares with one more candidate, which outlives `nearest`. */
void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
