/* SPDX-License-Identifier: MIT */
/* See uring_memory.h. A slot whose bit in `taken` is not set is empty in the kernel's table too. */
#include "daemon/engine/uring_memory.h"

#include <assert.h>

enum { WORD_BITS = 64 };

static void table_open(struct uring_memory *table, struct io_uring *ring)
{
    if (table->size > 0 || table->refused)
        return;
    if (io_uring_register_buffers_sparse(ring, URING_MEMORY_MAX) == 0)
        table->size = URING_MEMORY_MAX;
    else
        table->refused = true;
}

static bool slot_find(const struct uring_memory *table, unsigned int *ret_slot)
{
    for (unsigned int word = 0; word * WORD_BITS < table->size; word++) {
        if (table->taken[word] != UINT64_MAX) {
            *ret_slot = word * WORD_BITS + (unsigned int)__builtin_ctzll(~table->taken[word]);
            return true;
        }
    }
    return false;
}

/* Nothing at NULL empties the slot. */
static bool slot_set(struct io_uring *ring, unsigned int slot, void *base, size_t size_bytes)
{
    const struct iovec what = {.iov_base = base, .iov_len = size_bytes};
    const __u64 tag = 0;

    return io_uring_register_buffers_update_tag(ring, slot, &what, &tag, 1) == 1;
}

void uring_memory_put(struct uring_memory *table, struct io_uring *ring,
                      struct engine_memory *memory)
{
    unsigned int slot;

    table_open(table, ring);
    if (!slot_find(table, &slot) || !slot_set(ring, slot, memory->base, memory->size_bytes))
        return;
    table->taken[slot / WORD_BITS] |= UINT64_C(1) << slot % WORD_BITS;
    memory->slot = slot;
    memory->registered = true;
}

/* A slot that the kernel cannot empty (old ones want memory for it) is not used again. */
void uring_memory_drop(struct uring_memory *table, struct io_uring *ring,
                       struct engine_memory *memory)
{
    unsigned int slot = memory->slot;

    assert(memory->registered && table->taken[slot / WORD_BITS] & UINT64_C(1) << slot % WORD_BITS);
    memory->registered = false;
    if (slot_set(ring, slot, NULL, 0))
        table->taken[slot / WORD_BITS] &= ~(UINT64_C(1) << slot % WORD_BITS);
}
