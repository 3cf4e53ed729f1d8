/* SPDX-License-Identifier: MIT */
/*
 * A copy of some bytes that ends where unreadable memory begins. libprotobuf-c comes without a
 * sanitizer's checks, so a page that cannot be read is what catches it reading too far.
 */
#ifndef BLKD_TESTS_FUZZ_GUARDED_H
#define BLKD_TESTS_FUZZ_GUARDED_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
    uint8_t *end; /* the first byte that cannot be read */
    size_t size_bytes;
};

/* Room for at least `size` bytes. Aborts if there is no memory. */
static inline struct guarded guarded_new(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t room = (size + page - 1) / page * page;
    uint8_t *memory = (uint8_t *)mmap(NULL, room + page, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED || mprotect(memory + room, page, PROT_NONE) < 0)
        abort();
    return (struct guarded){memory + room, room};
}

/* The copy; valid until the next one. `size` is at most what guarded_new was told. */
static inline uint8_t *guarded_copy(const struct guarded *guarded, const void *bytes, size_t size)
{
    if (size > guarded->size_bytes)
        abort();
    if (size > 0)
        memcpy(guarded->end - size, bytes, size);
    return guarded->end - size;
}

#endif
