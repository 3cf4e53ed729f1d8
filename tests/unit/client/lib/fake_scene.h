/* SPDX-License-Identifier: MIT */
/* What most tests of libblkd begin and end with: one scripted daemon, one connection, one device.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_SCENE_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_SCENE_H

#include "tests/unit/client/lib/fake_daemon.h"
#include "tests/unit/suite.h"

/* protobuf-c's strings are not const. */
#define TEXT(literal) ((char[]){literal})
#define BYTES(literal) ((ProtobufCBinaryData){sizeof(literal) - 1, (uint8_t[]){literal}})

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;

static inline void begin(void)
{
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
}

static inline void end(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_stop(&fake);
}

#endif
