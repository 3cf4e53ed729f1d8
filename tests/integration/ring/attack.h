/* SPDX-License-Identifier: MIT */
/*
 * A client of the ring tier that means ill: whatever it can write, it writes at random, with values
 * that are likely to hurt, from several threads, while the daemon reads it; among all that it
 * submits what is good enough to be carried out. When the daemon closes its connection it comes
 * again.
 */
#ifndef BLKD_TESTS_ATTACK_H
#define BLKD_TESTS_ATTACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Shared by the attackers and the test that started them. */
struct attack_state {
    _Atomic bool over;
    _Atomic uint64_t lives;     /* connections that got rings */
    _Atomic uint64_t closed;    /* of them by the daemon, with EPROTO */
    _Atomic uint64_t completed; /* completions that were taken */
    _Atomic uint64_t done;      /* of them without an error */
    _Atomic uint64_t strange;   /* answers that no daemon should give */
};

struct attack_plan {
    const char *socket_path;
    const char *images[2]; /* its own */
    uint64_t image_bytes;
    uint64_t seed;
    struct attack_state *state;
};

/* One connection after the other until state->over. */
void attack(const struct attack_plan *plan);

#endif
