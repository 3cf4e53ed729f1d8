/* SPDX-License-Identifier: MIT */
/* What the tests of libblkd's rings begin and end with: one daemon, one connection, one device. */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_RING_SCENE_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_RING_SCENE_H

#include "tests/unit/client/lib/fake_ring.h"

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;

static inline void setup(void)
{
    (void)unsetenv("BLKD_TIER");
    fake_ring_init(&fake);
}

static inline void begin(enum blkd_tier tier)
{
    fake_start(&fake);
    connection = fake_connect_tier(&fake, tier);
    device = fake_open_device(connection);
}

static inline void end(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_ring_stop(&fake);
}

static inline int read_sector(uint64_t sector)
{
    uint8_t bytes[FAKE_SECTOR];
    struct iovec iov = {bytes, sizeof(bytes)};
    int r = blkd_read(device, sector, &iov, 1);

    if (r == 0)
        fake_assert_content(bytes, sector * FAKE_SECTOR, sizeof(bytes));
    return r;
}

#endif
