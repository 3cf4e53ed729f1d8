/* SPDX-License-Identifier: MIT */
/*
 * Recognises files whose bytes are not those of the disk that is in them: image formats of virtual
 * machines and compressed files. Pure.
 */
#ifndef BLKD_CLI_FORMAT_H
#define BLKD_CLI_FORMAT_H

#include <stddef.h>

enum {
    FORMAT_BYTES = 68, /* of the file's beginning: all that is looked at */
};

struct format {
    const char *name;
    const char *advice; /* how one gets to the disk's bytes */
};

/* NULL: none of those that are known. Fewer than FORMAT_BYTES are fine. */
const struct format *format_find(const void *bytes, size_t length);

#endif
