/* SPDX-License-Identifier: MIT */
/*
 * File descriptors that came with a message, until the message claims them. Those that it does not
 * claim are closed.
 */
#ifndef BLKD_CLIENT_LIB_BASE_DESCRIPTORS_H
#define BLKD_CLIENT_LIB_BASE_DESCRIPTORS_H

#include <stddef.h>

#include "common/fdpass.h"

struct descriptors {
    int fds[FDPASS_MAX];
    size_t count;
};

/* Takes over what was received and leaves `received` empty. No two replies that are at hand at once
 * bring more than there is room for; what is beyond that is closed. */
void descriptors_take(struct descriptors *descriptors, struct fdpass *received);

/* The next one, the caller's from then on. -1: none is left. */
int descriptors_claim(struct descriptors *descriptors);

void descriptors_close(struct descriptors *descriptors);

#endif
