/* SPDX-License-Identifier: MIT */
/* The reserved members of what a caller fills in: zero, or a later version of the header has given
 * them a meaning that this library does not know. */
#ifndef BLKD_CLIENT_LIB_BASE_RESERVED_H
#define BLKD_CLIENT_LIB_BASE_RESERVED_H

#include <stddef.h>
#include <stdint.h>

/* 0; or -EINVAL, with a message that names the struct. */
int reserved_check(const char *struct_name, const uint64_t *words, size_t count);

/* Of the struct that `object` points to, named as in the header. */
#define RESERVED_CHECK(name, object)                                                               \
    reserved_check(name, (object)->reserved,                                                       \
                   sizeof((object)->reserved) / sizeof((object)->reserved[0]))

#endif
