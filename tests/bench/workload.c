/* SPDX-License-Identifier: MIT */
/* Offsets and patterns; see workload.h. */
#include "tests/bench/workload.h"

#include <errno.h>
#include <string.h>

enum { PATTERN_SECTOR = 512 };

static const char *const names[] = {
    [WORKLOAD_RANDREAD] = "randread", [WORKLOAD_RANDWRITE] = "randwrite",
    [WORKLOAD_READ] = "read",         [WORKLOAD_WRITE] = "write",
    [WORKLOAD_FLUSH] = "flush",       [WORKLOAD_WRITEFLUSH] = "writeflush",
};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

const char *workload_name(enum workload_type type)
{
    return (size_t)type < NAMES ? names[type] : NULL;
}

int workload_type_parse(const char *name, enum workload_type *ret_type)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret_type = (enum workload_type)i;
            return 0;
        }
    }
    return -EINVAL;
}

bool workload_writes(enum workload_type type)
{
    return type != WORKLOAD_RANDREAD && type != WORKLOAD_READ;
}

int workload_init(struct workload *workload, enum workload_type type, uint64_t size_bytes,
                  uint32_t block_bytes, unsigned int index, unsigned int clients, uint64_t seed)
{
    uint64_t blocks = size_bytes / block_bytes;
    uint64_t share = blocks / clients;
    if (share == 0)
        return -EINVAL;
    bool sequential = type == WORKLOAD_READ || type == WORKLOAD_WRITE;
    *workload = (struct workload){
        .type = type,
        .block_bytes = block_bytes,
        .first_block = sequential ? share * index : 0,
        .count_blocks = sequential ? share : blocks,
        .random = seed * UINT64_C(0x9e3779b97f4a7c15) + index,
    };
    return 0;
}

enum op_kind workload_first_kind(const struct workload *workload)
{
    if (workload->type == WORKLOAD_FLUSH)
        return OP_FLUSH;
    return workload_writes(workload->type) ? OP_WRITE : OP_READ;
}

/* SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
static uint64_t random_next(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

uint64_t workload_next_offset(struct workload *workload)
{
    uint64_t block;
    if (workload->type == WORKLOAD_READ || workload->type == WORKLOAD_WRITE) {
        block = workload->position++;
        if (workload->position == workload->count_blocks)
            workload->position = 0;
    } else {
        /* The upper half of the product spreads evenly over the blocks, without a division. */
        block = (uint64_t)(((unsigned __int128)random_next(&workload->random) *
                            workload->count_blocks) >>
                           64);
    }
    return (workload->first_block + block) * workload->block_bytes;
}

void pattern_fill(void *buffer, size_t length_bytes, uint64_t offset_bytes)
{
    for (size_t at = 0; at < length_bytes; at += sizeof(uint64_t)) {
        uint64_t word = (offset_bytes + at) / PATTERN_SECTOR;
        memcpy((char *)buffer + at, &word, sizeof(word));
    }
}

bool pattern_check(const void *buffer, size_t length_bytes, uint64_t offset_bytes,
                   uint64_t *ret_offset_bytes)
{
    for (size_t at = 0; at < length_bytes; at += sizeof(uint64_t)) {
        uint64_t expected = (offset_bytes + at) / PATTERN_SECTOR;
        uint64_t word;
        memcpy(&word, (const char *)buffer + at, sizeof(word));
        if (word != expected) {
            *ret_offset_bytes = offset_bytes + at;
            return false;
        }
    }
    return true;
}
