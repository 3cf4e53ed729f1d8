/* SPDX-License-Identifier: MIT */
/*
 * The frame: `u32le header_length, u32le payload_length`, the protobuf header, the raw payload.
 * Pure: this file knows bytes, not sockets.
 */
#ifndef BLKD_COMMON_FRAME_H
#define BLKD_COMMON_FRAME_H

#include <stdint.h>

#include "common/limits.h"

struct frame_prefix {
    uint32_t header_bytes;
    uint32_t payload_bytes;
};

void frame_encode(uint8_t bytes[static FRAME_PREFIX_BYTES], struct frame_prefix prefix);

/* Returns 0, or -EMSGSIZE with *ret_prefix untouched when the header is empty or above
 * FRAME_HEADER_MAX or the payload above IO_BYTES_MAX. */
int frame_decode(const uint8_t bytes[static FRAME_PREFIX_BYTES], struct frame_prefix *ret_prefix);

#endif
