/* SPDX-License-Identifier: MIT */
/*
 * What one client does next: the kind of an operation and its offset, from a seed, so that a run
 * can be repeated; and the pattern by which `--verify` knows a sector that strayed. Pure.
 */
#ifndef BLKD_BENCH_WORKLOAD_H
#define BLKD_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_kind {
    OP_READ,
    OP_WRITE,
    OP_FLUSH,
};

enum workload_type {
    WORKLOAD_RANDREAD,
    WORKLOAD_RANDWRITE,
    WORKLOAD_READ,
    WORKLOAD_WRITE,
    WORKLOAD_FLUSH,
    WORKLOAD_WRITEFLUSH, /* an operation is a write at random and then a flush */
};

struct workload {
    enum workload_type type;
    uint32_t block_bytes;
    uint64_t first_block;
    uint64_t count_blocks;
    uint64_t position;
    uint64_t random;
};

/* "randread" and so on; NULL for a number that is no type. */
const char *workload_name(enum workload_type type);
/* 0, or -EINVAL if there is no type of that name. */
int workload_type_parse(const char *name, enum workload_type *ret_type);
bool workload_writes(enum workload_type type);

/*
 * Client `index` of `clients` on a device of size_bytes. Random workloads range over the whole
 * device, sequential ones over the client's own share of it, around and around. Returns 0, or
 * -EINVAL if there is not one block for each client.
 */
int workload_init(struct workload *workload, enum workload_type type, uint64_t size_bytes,
                  uint32_t block_bytes, unsigned int index, unsigned int clients, uint64_t seed);

enum op_kind workload_first_kind(const struct workload *workload);
uint64_t workload_next_offset(struct workload *workload);

/* Every eight bytes hold the number of the 512-byte sector that they belong to. */
void pattern_fill(void *buffer, size_t length_bytes, uint64_t offset_bytes);
/* Whether it is there; if not, *ret_offset is the byte offset on the device of the first that
 * differs. */
bool pattern_check(const void *buffer, size_t length_bytes, uint64_t offset_bytes,
                   uint64_t *ret_offset_bytes);

#endif
