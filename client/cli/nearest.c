/* SPDX-License-Identifier: MIT */
#include "client/cli/nearest.h"

#include <string.h>

enum {
    NEAREST_LETTERS_PER_ERROR = 3, /* a word of 3 letters may have 1 error, one of 6 may have 2 */
};

static size_t nearest_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The optimal string alignment distance. A row is about the first `i` letters of the word. */
static size_t nearest_errors(const char *word, size_t length, const char *candidate)
{
    size_t count = strlen(candidate);
    size_t rows[3][NEAREST_WORD_MAX + 1];

    for (size_t j = 0; j <= count; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= length; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= count; j++) {
            size_t wrong = word[i - 1] != candidate[j - 1];

            row[j] = nearest_min(above[j - 1] + wrong, nearest_min(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] &&
                word[i - 2] == candidate[j - 1])
                row[j] = nearest_min(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[length % 3][count];
}

void nearest_init(struct nearest *nearest, const char *word, size_t length)
{
    *nearest = (struct nearest){
        .word = word,
        .length = length,
        .best_errors = length / NEAREST_LETTERS_PER_ERROR + 1,
    };
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t errors;

    if (nearest->length > NEAREST_WORD_MAX || strlen(candidate) > NEAREST_WORD_MAX)
        return;
    errors = nearest_errors(nearest->word, nearest->length, candidate);
    if (errors < nearest->best_errors) {
        nearest->best = candidate;
        nearest->best_errors = errors;
    }
}
