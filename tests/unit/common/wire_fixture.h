/* SPDX-License-Identifier: MIT */
/* What tests of packing and unpacking share: one frame, one arena, and messages to put into them.
 */
#ifndef BLKD_TESTS_UNIT_COMMON_WIRE_FIXTURE_H
#define BLKD_TESTS_UNIT_COMMON_WIRE_FIXTURE_H

#include "common/wire.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/frame.h"
#include "common/limits.h"
#include "tests/fuzz/guarded.h"
#include "tests/unit/suite.h"

#define PATH "/var/lib/images/disk.img"

static struct wire_arena arena;
static struct guarded guarded;
static uint8_t frame[FRAME_PREFIX_BYTES + FRAME_HEADER_MAX];

static inline void setup(void)
{
    arena = (struct wire_arena){.memory = NULL};
    guarded = guarded_new(FRAME_HEADER_MAX);
}

static inline void teardown(void)
{
    wire_arena_deinit(&arena);
}

/* Unpacks what stands in `frame` behind its prefix. */
static inline int unpack_request(size_t header_bytes, const Blkd__Request **ret_request)
{
    const uint8_t *bytes = guarded_copy(&guarded, frame + FRAME_PREFIX_BYTES, header_bytes);

    return wire_unpack_request(&arena, bytes, header_bytes, ret_request);
}

static inline int unpack_reply(size_t header_bytes, const Blkd__Reply **ret_reply)
{
    const uint8_t *bytes = guarded_copy(&guarded, frame + FRAME_PREFIX_BYTES, header_bytes);

    return wire_unpack_reply(&arena, bytes, header_bytes, ret_reply);
}

static inline int unpack_bytes(const void *bytes, size_t length)
{
    const Blkd__Request *request = NULL;
    int r = wire_unpack_request(&arena, guarded_copy(&guarded, bytes, length), length, &request);

    ck_assert_msg((r == 0) == (request != NULL), "a result is given with success and only then");
    return r;
}

static inline size_t put_request(const Blkd__Request *request)
{
    const size_t size = wire_request_size(request);

    ck_assert_uint_le(size, sizeof(frame));
    wire_pack_request(request, 0, frame);
    return size - FRAME_PREFIX_BYTES;
}

static inline size_t put_reply(const Blkd__Reply *reply)
{
    const size_t size = wire_reply_size(reply);

    ck_assert_uint_le(size, sizeof(frame));
    wire_pack_reply(reply, 0, frame);
    return size - FRAME_PREFIX_BYTES;
}

static inline size_t put_open_request(uint64_t id)
{
    static uint8_t path[] = PATH;
    Blkd__Config config;
    Blkd__Open open = BLKD__OPEN__INIT;
    Blkd__Request request = BLKD__REQUEST__INIT;

    blkd__config__init(&config);
    config.path = (ProtobufCBinaryData){strlen(PATH), path};
    config.direct = true;
    config.sync = BLKD__SYNC__SYNC_DRIVE;
    config.sector_size = 4096;
    open.config = &config;
    open.descriptor = true;
    request.id = id;
    request.op_case = BLKD__REQUEST__OP_OPEN;
    request.open = &open;
    return put_request(&request);
}

static inline size_t put_read_request(uint64_t id)
{
    Blkd__Read read = BLKD__READ__INIT;
    Blkd__Request request = BLKD__REQUEST__INIT;

    read.session = UINT64_MAX;
    read.offset_bytes = INT64_MAX;
    read.length_bytes = IO_BYTES_MAX;
    read.transfer_end_bytes = UINT64_MAX;
    request.id = id;
    request.op_case = BLKD__REQUEST__OP_READ;
    request.read = &read;
    return put_request(&request);
}

static inline size_t put_error_reply(uint64_t id)
{
    char message[] = "read of 4096 bytes at 0 from " PATH ": Input/output error";
    Blkd__Reply reply;

    blkd__reply__init(&reply);
    reply.id = id;
    reply.status = BLKD__STATUS__STATUS_EIO;
    reply.message = message;
    return put_reply(&reply);
}

#endif
