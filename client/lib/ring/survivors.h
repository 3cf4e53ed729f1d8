/* SPDX-License-Identifier: MIT */
/*
 * Buffers whose connection is disconnected: the process has them until it frees them. Any thread.
 */
#ifndef BLKD_CLIENT_LIB_RING_SURVIVORS_H
#define BLKD_CLIENT_LIB_RING_SURVIVORS_H

#include "client/lib/ring/private.h"

/* Takes over all buffers of a tree, and leaves it empty. Where memory for that is short a buffer
 * stays what it is, and cannot be freed. */
void survivors_adopt(void **tree);

/* Takes one out, to be freed. NULL: there is none at that address, or this is the child of a fork,
 * which has no memory there. */
struct private_buffer *survivors_take(void *base);

#endif
