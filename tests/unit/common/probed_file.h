/* SPDX-License-Identifier: MIT */
/* An unnamed file to probe. */
#ifndef BLKD_TESTS_UNIT_COMMON_PROBED_FILE_H
#define BLKD_TESTS_UNIT_COMMON_PROBED_FILE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* An unnamed file of `size` bytes in `directory`. */
static inline int open_file(const char *directory, off_t size, int flags)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);

    ck_assert_msg(fd >= 0, "%s: %s", directory, strerror(errno));
    ck_assert_int_eq(ftruncate(fd, size), 0);
    return fd;
}

#endif
