/* SPDX-License-Identifier: MIT */
/*
 * protobuf-c asks an allocator for each piece of a message; here the pieces are cut off an arena
 * one after the other and vanish together when the next message is unpacked. The arena is made as
 * large as a message may become before unpacking starts, and kept: the hot path calls no malloc.
 *
 * protobuf-c also takes scratch memory from it while it scans a message with more than 16 fields.
 * In lists that happens once an entry, so what was last given back is given out again (`spare`).
 */
#include "common/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/frame.h"
#include "common/limits.h"

enum {
    ALIGNMENT = 16, /* of every piece, as malloc's */
    ARENA_STEP = 4096,
};

/* In front of each piece, because free() is not told how large it was. */
struct piece {
    size_t size_bytes; /* with this header */
} __attribute__((aligned(ALIGNMENT)));

static void *arena_allocate(void *allocator_data, size_t size)
{
    struct wire_arena *arena = allocator_data;
    const size_t size_bytes =
        sizeof(struct piece) + ((size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
    struct piece *piece = arena->spare;

    if (piece && piece->size_bytes == size_bytes) {
        arena->spare = NULL;
        return piece + 1;
    }
    if (size > arena->limit_bytes || size_bytes > arena->limit_bytes - arena->used_bytes) {
        arena->exhausted = true;
        return NULL;
    }
    piece = (struct piece *)(void *)(arena->memory + arena->used_bytes);
    piece->size_bytes = size_bytes;
    arena->used_bytes += size_bytes;
    return piece + 1;
}

static void arena_release(void *allocator_data, void *pointer)
{
    struct wire_arena *arena = allocator_data;
    struct piece *piece = (struct piece *)pointer - 1;
    struct piece *spare = arena->spare;

    if (!spare || spare->size_bytes < piece->size_bytes)
        arena->spare = piece;
}

/* Empties the arena and makes it as large as a message of `length` bytes may become. */
static int arena_prepare(struct wire_arena *arena, size_t length, size_t factor)
{
    const size_t limit = factor * length + DECODE_EXTRA;

    if (limit > arena->size_bytes) {
        const size_t size = (limit + ARENA_STEP - 1) / ARENA_STEP * ARENA_STEP;
        uint8_t *memory = malloc(size);
        if (!memory)
            return -ENOMEM;
        free(arena->memory);
        arena->memory = memory;
        arena->size_bytes = size;
    }
    arena->limit_bytes = limit;
    arena->used_bytes = 0;
    arena->spare = NULL;
    arena->exhausted = false;
    return 0;
}

static int unpack(struct wire_arena *arena, const ProtobufCMessageDescriptor *descriptor,
                  const uint8_t *bytes, size_t length, size_t factor,
                  const ProtobufCMessage **ret_message)
{
    ProtobufCAllocator allocator = {arena_allocate, arena_release, arena};
    const ProtobufCMessage *message;
    int r;

    r = arena_prepare(arena, length, factor);
    if (r < 0)
        return r;
    message = protobuf_c_message_unpack(descriptor, &allocator, length, bytes);
    if (!message)
        return arena->exhausted ? -E2BIG : -EBADMSG;
    *ret_message = message;
    return 0;
}

void wire_arena_deinit(struct wire_arena *arena)
{
    free(arena->memory);
    *arena = (struct wire_arena){.memory = NULL};
}

int wire_unpack_request(struct wire_arena *arena, const uint8_t *bytes, size_t length,
                        const Blkd__Request **ret_request)
{
    const ProtobufCMessage *message;
    int r;

    r = unpack(arena, &blkd__request__descriptor, bytes, length, DECODE_FACTOR, &message);
    if (r < 0)
        return r;
    *ret_request = (const Blkd__Request *)message;
    return 0;
}

int wire_unpack_reply(struct wire_arena *arena, const uint8_t *bytes, size_t length,
                      const Blkd__Reply **ret_reply)
{
    const ProtobufCMessage *message;
    int r;

    r = unpack(arena, &blkd__reply__descriptor, bytes, length, DECODE_REPLY_FACTOR, &message);
    if (r < 0)
        return r;
    *ret_reply = (const Blkd__Reply *)message;
    return 0;
}

size_t wire_request_size(const Blkd__Request *request)
{
    return FRAME_PREFIX_BYTES + protobuf_c_message_get_packed_size(&request->base);
}

size_t wire_reply_size(const Blkd__Reply *reply)
{
    return FRAME_PREFIX_BYTES + protobuf_c_message_get_packed_size(&reply->base);
}

static void pack(const ProtobufCMessage *message, uint32_t payload_bytes, uint8_t *bytes)
{
    const size_t packed = protobuf_c_message_pack(message, bytes + FRAME_PREFIX_BYTES);

    assert(packed > 0 && packed <= FRAME_HEADER_MAX);
    frame_encode(bytes, (struct frame_prefix){(uint32_t)packed, payload_bytes});
}

void wire_pack_request(const Blkd__Request *request, uint32_t payload_bytes, uint8_t *bytes)
{
    pack(&request->base, payload_bytes, bytes);
}

void wire_pack_reply(const Blkd__Reply *reply, uint32_t payload_bytes, uint8_t *bytes)
{
    pack(&reply->base, payload_bytes, bytes);
}
