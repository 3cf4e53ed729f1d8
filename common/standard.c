/* SPDX-License-Identifier: MIT */
#include "common/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int standard_occupy(void)
{
    for (int fd = 0; fd < STANDARD_COUNT; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        if (errno != EBADF)
            return -errno;
        int made = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (made < 0) /* a place without devices: what is written there fails, as it did before */
            made = open("/", O_PATH | O_CLOEXEC);
        if (made < 0)
            return -errno;
        if (made != fd) {
            (void)close(made);
            return -EBUSY;
        }
    }
    return 0;
}

int standard_lift(int fd)
{
    if (fd < 0 || fd >= STANDARD_COUNT)
        return fd;
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, STANDARD_COUNT);
    int error = errno;
    (void)close(fd);
    errno = error;
    return lifted;
}

/* Nothing can be read from or written to a descriptor that is only a path. */
void standard_hold_begin(struct standard_hold *hold)
{
    hold->count = 0;
    for (int fd = 0; fd < STANDARD_COUNT; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        int made = open("/", O_PATH | O_CLOEXEC);
        if (made < 0)
            return;
        hold->fds[hold->count++] = made;
    }
}

void standard_hold_end(const struct standard_hold *hold)
{
    int error = errno;
    for (int i = 0; i < hold->count; i++)
        (void)close(hold->fds[i]);
    errno = error;
}
