/* SPDX-License-Identifier: MIT */
/*
 * What one ring keeps open besides its owner (engine_pin): its table of registered files. The
 * kernel lets go of that table when it frees the ring, and it frees the ring after the last of its
 * transfers, however its owner ended. No transfer uses the table.
 *
 * The table is registered with the first pin, so that a ring without locks has none. It is not
 * larger than the process may have descriptors: the kernel refuses that.
 */
#ifndef BLKD_DAEMON_ENGINE_URING_PINS_H
#define BLKD_DAEMON_ENGINE_URING_PINS_H

#include <liburing.h>
#include <stdint.h>

#include "daemon/engine/engine.h"

/* The table takes 8 bytes of kernel memory a slot (128 KiB), and what is in it 32 bytes each. */
enum { URING_PINS_MAX = 16384 };

struct uring_pins {
    unsigned int size; /* slots; 0: there is no table yet */
    uint64_t taken[URING_PINS_MAX / 64];
};

/* As engine_pin and engine_unpin; on the ring's own thread, with the ring enabled. */
int uring_pins_put(struct uring_pins *pins, struct io_uring *ring, struct engine_pin *pin,
                   const int *fds, unsigned int count);
void uring_pins_drop(struct uring_pins *pins, struct io_uring *ring, struct engine_pin *pin);

#endif
