/* SPDX-License-Identifier: MIT */
/* Loop devices for unit tests. They go away with their last descriptor, so nothing stays behind. */
#ifndef BLKD_TESTS_UNIT_LOOP_H
#define BLKD_TESTS_UNIT_LOOP_H

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Takes a free loop device for `file_fd`. Its node goes to ret_path. A descriptor, or -errno. */
static inline int loop_attach(int file_fd, uint32_t block_bytes, uint32_t flags, char *ret_path,
                              size_t size)
{
    const struct loop_config config = {.fd = (uint32_t)file_fd,
                                       .block_size = block_bytes,
                                       .info.lo_flags = LO_FLAGS_AUTOCLEAR | flags};
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int error = control < 0 ? errno : EBUSY;
    int fd = -1;
    while (error == EBUSY) { /* while others are faster */
        const int number = ioctl(control, LOOP_CTL_GET_FREE);
        (void)snprintf(ret_path, size, "/dev/loop%d", number);
        fd = number < 0 ? -1 : open(ret_path, O_RDWR | O_CLOEXEC);
        error = fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0 ? 0 : errno;
        if (error != 0 && fd >= 0)
            (void)close(fd);
    }
    if (control >= 0)
        (void)close(control);
    return error == 0 ? fd : -error;
}

#endif
