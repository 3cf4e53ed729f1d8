/* SPDX-License-Identifier: MIT */
/* See descriptors.h. */
#include "client/lib/base/descriptors.h"

#include <string.h>
#include <unistd.h>

void descriptors_take(struct descriptors *descriptors, struct fdpass *received)
{
    for (size_t i = 0; i < received->count; i++) {
        if (descriptors->count < FDPASS_MAX)
            descriptors->fds[descriptors->count++] = received->fds[i];
        else
            (void)close(received->fds[i]);
    }
    received->count = 0;
}

int descriptors_claim(struct descriptors *descriptors)
{
    int fd;

    if (descriptors->count == 0)
        return -1;
    fd = descriptors->fds[0];
    descriptors->count--;
    memmove(descriptors->fds, descriptors->fds + 1, descriptors->count * sizeof(fd));
    return fd;
}

void descriptors_close(struct descriptors *descriptors)
{
    while (descriptors->count > 0)
        (void)close(descriptors->fds[--descriptors->count]);
}
