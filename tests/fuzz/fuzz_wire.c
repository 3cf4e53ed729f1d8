/* SPDX-License-Identifier: MIT */
/*
 * Any bytes, taken for a frame and for a header, for a request and for a reply: they are understood
 * or refused, within the arena's limit; and what was understood says the same when packed again.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/frame.h"
#include "common/wire.h"
#include "tests/fuzz/guarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { FILL = 0xa5 };

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "fuzz_wire: %s\n", what);
    abort();
}

static void check_arena(const struct wire_arena *arena)
{
    require(arena->used_bytes <= arena->limit_bytes, "more was used than the limit");
    require(arena->limit_bytes <= arena->size_bytes, "the limit is above the arena's size");
    const uint8_t *rest = arena->memory + arena->used_bytes;
    const size_t count = arena->size_bytes - arena->used_bytes;
    /* If the first byte is as it was and each is like the one before it, all are as they were. */
    require(count == 0 || (rest[0] == FILL && memcmp(rest, rest + 1, count - 1) == 0),
            "something wrote behind what it was given");
}

static void fill_arena(struct wire_arena *arena)
{
    if (arena->memory)
        memset(arena->memory, FILL, arena->size_bytes);
}

static void check_result(int r, bool has_result)
{
    require(r == 0 || r == -EBADMSG || r == -E2BIG, "an error that is not documented");
    require((r == 0) == has_result, "a result without success or the reverse");
}

/*
 * protobuf-c takes field number 0, spelt with more bytes than it needs, for an unknown field, and
 * cannot read what it then writes: so -EBADMSG is allowed for what was packed again.
 *
 * Each of these is used for requests and for replies; C has no other way to say it.
 */
#define DEFINE_CHECKS(kind, Type)                                                                  \
    static void check_repacked_##kind(const Type *message)                                         \
    {                                                                                              \
        static struct wire_arena arena;                                                            \
        const size_t size = wire_##kind##_size(message);                                           \
        const Type *again;                                                                         \
                                                                                                   \
        if (size == FRAME_PREFIX_BYTES || size > FRAME_PREFIX_BYTES + FRAME_HEADER_MAX)            \
            return; /* no header, or none that may be sent */                                      \
        uint8_t *first = malloc(size), *second = malloc(size);                                     \
        require(first &&second, "no memory");                                                      \
        wire_pack_##kind(message, 0, first);                                                       \
        const int r = wire_unpack_##kind(&arena, first + FRAME_PREFIX_BYTES,                       \
                                         size - FRAME_PREFIX_BYTES, &again);                       \
        check_result(r, r == 0);                                                                   \
        if (r == 0) {                                                                              \
            require(wire_##kind##_size(again) == size, "packed again it has another size");        \
            wire_pack_##kind(again, 0, second);                                                    \
            require(memcmp(first, second, size) == 0, "packed again it differs");                  \
        }                                                                                          \
        free(first);                                                                               \
        free(second);                                                                              \
    }                                                                                              \
                                                                                                   \
    static void check_##kind(const struct guarded *guarded, const uint8_t *bytes, size_t size)     \
    {                                                                                              \
        static struct wire_arena arena;                                                            \
        const Type *message = NULL;                                                                \
        const size_t before = arena.size_bytes;                                                    \
                                                                                                   \
        fill_arena(&arena);                                                                        \
        const int r =                                                                              \
            wire_unpack_##kind(&arena, guarded_copy(guarded, bytes, size), size, &message);        \
        check_result(r, message != NULL);                                                          \
        if (arena.size_bytes == before)                                                            \
            check_arena(&arena); /* a new one was not filled */                                    \
        if (message)                                                                               \
            check_repacked_##kind(message);                                                        \
    }

DEFINE_CHECKS(request, Blkd__Request)
DEFINE_CHECKS(reply, Blkd__Reply)

static void check_header(const uint8_t *bytes, size_t size)
{
    static struct guarded guarded;

    if (!guarded.end)
        guarded = guarded_new(FRAME_HEADER_MAX);
    if (size > FRAME_HEADER_MAX)
        return;
    check_request(&guarded, bytes, size);
    check_reply(&guarded, bytes, size);
}

static void check_frame(const uint8_t *bytes, size_t size)
{
    uint8_t again[FRAME_PREFIX_BYTES];
    struct frame_prefix prefix;

    if (size < FRAME_PREFIX_BYTES || frame_decode(bytes, &prefix) < 0)
        return;
    require(prefix.header_bytes > 0 && prefix.header_bytes <= FRAME_HEADER_MAX, "header bound");
    require(prefix.payload_bytes <= IO_BYTES_MAX, "payload bound");
    frame_encode(again, prefix);
    require(memcmp(again, bytes, sizeof(again)) == 0, "the prefix encoded again differs");
    if (prefix.header_bytes <= size - FRAME_PREFIX_BYTES)
        check_header(bytes + FRAME_PREFIX_BYTES, prefix.header_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    check_frame(bytes, size);
    check_header(bytes, size);
    return 0;
}
