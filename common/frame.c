/* SPDX-License-Identifier: MIT */
/*
 * Both lengths are checked where they are decoded, so that nobody can allocate by one that was not.
 */
#include "common/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

void frame_encode(uint8_t bytes[static FRAME_PREFIX_BYTES], struct frame_prefix prefix)
{
    const uint32_t words[2] = {htole32(prefix.header_bytes), htole32(prefix.payload_bytes)};

    _Static_assert(sizeof(words) == FRAME_PREFIX_BYTES, "the prefix is two words");
    memcpy(bytes, words, sizeof(words));
}

int frame_decode(const uint8_t bytes[static FRAME_PREFIX_BYTES], struct frame_prefix *ret_prefix)
{
    uint32_t words[2];

    memcpy(words, bytes, sizeof(words));
    const struct frame_prefix prefix = {le32toh(words[0]), le32toh(words[1])};

    if (prefix.header_bytes == 0 || prefix.header_bytes > FRAME_HEADER_MAX)
        return -EMSGSIZE;
    if (prefix.payload_bytes > IO_BYTES_MAX)
        return -EMSGSIZE;
    *ret_prefix = prefix;
    return 0;
}
