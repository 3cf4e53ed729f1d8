/* SPDX-License-Identifier: MIT */
/* See uring_pins.h. A slot whose bit in `taken` is not set is empty in the kernel's table too. */
#include "daemon/engine/uring_pins.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/cleanup.h"

enum { WORD_BITS = 64 };

/* Before 5.19 an empty table is one of descriptors that are all -1 (5.5). */
static int table_register(struct io_uring *ring, unsigned int size)
{
    int error = io_uring_register_files_sparse(ring, size);
    if (error != -EINVAL)
        return error;

    CLEANUP_FREE int *none = malloc(size * sizeof(*none));
    if (!none)
        return -ENOMEM;
    for (unsigned int i = 0; i < size; i++)
        none[i] = -1;
    return io_uring_register_files(ring, none, size);
}

static int pins_open(struct uring_pins *pins, struct io_uring *ring)
{
    struct rlimit limit;
    unsigned int size = URING_PINS_MAX;

    if (pins->size > 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    if (limit.rlim_cur < size)
        size = (unsigned int)limit.rlim_cur;

    int error = table_register(ring, size);
    if (error == 0)
        pins->size = size;
    return error;
}

static int slot_take(struct uring_pins *pins, unsigned int *ret_slot)
{
    for (unsigned int word = 0; word * WORD_BITS < pins->size; word++) {
        if (pins->taken[word] == UINT64_MAX)
            continue;
        unsigned int bit = (unsigned int)__builtin_ctzll(~pins->taken[word]);
        if (word * WORD_BITS + bit >= pins->size)
            break;
        pins->taken[word] |= UINT64_C(1) << bit;
        *ret_slot = word * WORD_BITS + bit;
        return 0;
    }
    return -ENFILE;
}

static void slot_give_back(struct uring_pins *pins, unsigned int slot)
{
    assert(pins->taken[slot / WORD_BITS] & (UINT64_C(1) << slot % WORD_BITS));
    pins->taken[slot / WORD_BITS] &= ~(UINT64_C(1) << slot % WORD_BITS);
}

/* What a slot refers to; -1: nothing. */
static int slot_set(struct io_uring *ring, unsigned int slot, int fd)
{
    int updated = io_uring_register_files_update(ring, slot, &fd, 1);

    return updated < 0 ? updated : 0;
}

static int slot_put(struct uring_pins *pins, struct io_uring *ring, int fd, unsigned int *ret_slot)
{
    unsigned int slot;
    int error = slot_take(pins, &slot);
    if (error < 0)
        return error;

    error = slot_set(ring, slot, fd);
    if (error < 0)
        slot_give_back(pins, slot);
    else
        *ret_slot = slot;
    return error;
}

/* A slot that the kernel cannot empty (old ones want memory for it) is not used again: what it
 * keeps is kept for too long, not for too short a time. */
void uring_pins_drop(struct uring_pins *pins, struct io_uring *ring, struct engine_pin *pin)
{
    for (unsigned int i = 0; i < pin->count; i++) {
        if (slot_set(ring, pin->slots[i], -1) == 0)
            slot_give_back(pins, pin->slots[i]);
    }
    pin->count = 0;
}

int uring_pins_put(struct uring_pins *pins, struct io_uring *ring, struct engine_pin *pin,
                   const int *fds, unsigned int count)
{
    struct engine_pin fresh = {0};

    assert(count <= ENGINE_PIN_MAX);
    int error = pins_open(pins, ring);
    while (error == 0 && fresh.count < count) {
        error = slot_put(pins, ring, fds[fresh.count], &fresh.slots[fresh.count]);
        if (error == 0)
            fresh.count++;
    }
    if (error < 0) {
        uring_pins_drop(pins, ring, &fresh);
        return error;
    }

    uring_pins_drop(pins, ring, pin); /* not before the new ones are there */
    *pin = fresh;
    return 0;
}
