/* SPDX-License-Identifier: MIT */
/*
 * Packing and bounded unpacking of the wire's messages. Unpacking takes its memory from an arena
 * whose size follows from the frame's (contract, bad input), so that no sequence of bytes makes a
 * message that is large in memory out of one that is small on the wire.
 */
#ifndef BLKD_COMMON_WIRE_H
#define BLKD_COMMON_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/blkd.pb-c.h"

/* Memory for unpacked messages; one at a time. Zero-initialise it. */
struct wire_arena {
    uint8_t *memory;
    size_t size_bytes; /* what `memory` has */
    size_t limit_bytes;
    size_t used_bytes;
    void *spare; /* a piece that was given back */
    int exhausted;
};

/* Frees the memory; messages unpacked into it are gone. */
void wire_arena_deinit(struct wire_arena *arena);

/*
 * Unpacks one message. It lives in `arena` until the next call with that arena and is not freed.
 * Returns 0, -EBADMSG if the bytes are no such message, -E2BIG if it takes more than DECODE_FACTOR
 * (a reply: DECODE_REPLY_FACTOR) x length + DECODE_EXTRA bytes, or -ENOMEM.
 */
int wire_unpack_request(struct wire_arena *arena, const uint8_t *bytes, size_t length,
                        const Blkd__Request **ret_request);
int wire_unpack_reply(struct wire_arena *arena, const uint8_t *bytes, size_t length,
                      const Blkd__Reply **ret_reply);

/* The bytes of frame prefix and header together. */
size_t wire_request_size(const Blkd__Request *request);
size_t wire_reply_size(const Blkd__Reply *reply);

/* Writes prefix and header, wire_*_size() bytes, to `bytes`; the payload follows them on the wire.
 * A header above FRAME_HEADER_MAX would be refused by the peer: whoever packs lists looks at the
 * size. */
void wire_pack_request(const Blkd__Request *request, uint32_t payload_bytes, uint8_t *bytes);
void wire_pack_reply(const Blkd__Reply *reply, uint32_t payload_bytes, uint8_t *bytes);

#endif
