/* SPDX-License-Identifier: MIT */
/*
 * From a member back to the structure that embeds it: letters, jobs and list entries are members of
 * what they are about.
 */
#ifndef BLKD_COMMON_CONTAINER_H
#define BLKD_COMMON_CONTAINER_H

#include <stddef.h>
#include <stdint.h>

#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((uint8_t *)(pointer)-offsetof(type, member)))

#define CONTAINER_OF_CONST(pointer, type, member)                                                  \
    ((const type *)(const void *)((const uint8_t *)(pointer)-offsetof(type, member)))

#endif
