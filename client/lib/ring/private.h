/* SPDX-License-Identifier: MIT */
/*
 * Ordinary memory of the process that is a buffer of a program, in trees of tsearch(3) by address.
 */
#ifndef BLKD_CLIENT_LIB_RING_PRIVATE_H
#define BLKD_CLIENT_LIB_RING_PRIVATE_H

#include <stddef.h>

struct private_buffer {
    void *base;
    size_t size_bytes;
};

/* For tsearch(3). */
int private_buffer_compare(const void *left, const void *right);

/* Takes it out of a tree, to be freed. NULL: there is none at that address. */
struct private_buffer *private_buffer_take(void **tree, void *base);

#endif
