/* SPDX-License-Identifier: MIT */
/*
 * Which operations are to go wrong, and how: the rules of the fault-injecting engine. Pure: it says
 * what should happen and does nothing. Nothing depends on the clock, so that a test that failed
 * fails again.
 *
 *   RULES   := RULE[,RULE...]
 *   RULE    := OP [ '[' FROM-TO ']' ] [ WHEN ] '=' OUTCOME
 *   OP      := read | write | any (read and write) | sync
 *   FROM-TO := what is touched, in bytes, both ends included, each with K, M, G or nothing after it
 *   WHEN    := @N    the Nth such operation (from 1)
 *            | @N+   the Nth and all after it
 *            | %N    each Nth
 *            | ~P    P of 100, by chance (the same ones in each run)
 *              nothing: all
 *   OUTCOME := EIO, ENOSPC or any other errno's name: fails with it, nothing transferred
 *            | short          only the first half is transferred, cut to whole 512 bytes (if that
 *                             is nothing, the operation is left alone)
 *            | short:BYTES    only the first BYTES are transferred
 *            | delay:TIME     begins later; TIME is a number and us, ms or s
 *
 * "Such operation" counts those that match OP and FROM-TO, for each rule alone, and for each engine
 * alone: with several workers, @3 is the third of each. All rules are asked: delays add up, and the
 * first failure or short transfer is the one.
 *
 * A sync is the verb of the helper pool that makes a device stable: it has no range and is never
 * short. What a write with FUA or a zeroing does to become stable is part of that operation, and
 * not a sync.
 *
 * Examples: read%7=short,write@3=EIO,write[1M-2M]~5=delay:20ms
 *           sync=delay:5ms,sync@3=EIO
 */
#ifndef BLKD_DAEMON_ENGINE_FAULT_RULES_H
#define BLKD_DAEMON_ENGINE_FAULT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_op {
    FAULT_READ = 1 << 0,
    FAULT_WRITE = 1 << 1,
    FAULT_SYNC = 1 << 2,
};

enum fault_when {
    FAULT_ALWAYS,
    FAULT_AT,
    FAULT_FROM,
    FAULT_EACH,
    FAULT_PERCENT,
};

struct fault_outcome {
    uint64_t delay_us;
    int error;          /* 0 or a negative errno */
    size_t limit_bytes; /* at most so many are transferred; 0: all */
};

struct fault_rule {
    unsigned int ops; /* of enum fault_op */
    uint64_t first_byte;
    uint64_t last_byte;
    enum fault_when when;
    uint64_t number;
    uint64_t seen;
    bool half; /* outcome.limit_bytes follows from the transfer */
    struct fault_outcome outcome;
};

enum { FAULT_RULES_MAX = 16 };

struct fault_rules {
    struct fault_rule rules[FAULT_RULES_MAX];
    unsigned int count;
    uint64_t random;
};

/* 0, or -EINVAL (not a rule) or -E2BIG (too many) with *ret_rules untouched. */
int fault_rules_parse(const char *text, struct fault_rules *ret_rules);

/* What shall become of the next operation; counts it. FAULT_SYNC has no offset and no length. */
struct fault_outcome fault_rules_next(struct fault_rules *rules, enum fault_op op,
                                      uint64_t offset_bytes, size_t length_bytes);

#endif
