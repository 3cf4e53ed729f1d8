/* SPDX-License-Identifier: MIT */
/* What happens to devices and sessions, told to whoever asked for it above this room. */
#ifndef BLKD_DAEMON_DEVICE_HAPPENING_H
#define BLKD_DAEMON_DEVICE_HAPPENING_H

#include <stdint.h>

#include "daemon/lock/lock.h"

struct device;
struct session;

/* Numbers as on the wire (Blkd__Happening__What). */
enum happening_what {
    HAPPENING_SESSION_OPENED = 1,
    HAPPENING_SESSION_CLOSED = 2,
    HAPPENING_LOCK_GRANTED = 3,
    HAPPENING_LOCK_RELEASED = 4,
    HAPPENING_LOCK_WAITS = 5,
    HAPPENING_LOCK_LOST = 6,
    HAPPENING_RESIZED = 7,
    HAPPENING_SYNC_FAILED = 8,
    HAPPENING_RECOVERED = 9,
    HAPPENING_EVICTED = 10,
    HAPPENING_DEVICE_CLOSED = 11,
};

/* What is told beside `what`, device and session; zero where it does not apply. */
struct happening_detail {
    enum lock_mode mode;
    struct lock_range range;
    uint64_t token;
    uint64_t size_bytes;
    uint64_t generation;
    int error;           /* 0 or a negative errno */
    const char *purpose; /* copied; may be NULL */
};

/* Takes what happens. Called on any thread, under any mutexes of this room: `publish` copies what
 * it is given, calls nothing of this room, and does not block. `session` may be NULL (of the
 * device), and `detail` too. */
struct happening_sink {
    void (*publish)(struct happening_sink *sink, enum happening_what what,
                    const struct device *device, const struct session *session,
                    const struct happening_detail *detail);
};

#endif
