/* SPDX-License-Identifier: MIT */
/*
 * One open of a device, as far as calls need it: whom they ask for what, and how many are not done.
 * Number, sector size, access and path are constant while there are calls; the counts are under the
 * connection's mutex.
 */
#ifndef BLKD_CLIENT_LIB_CALL_SESSION_H
#define BLKD_CLIENT_LIB_CALL_SESSION_H

#include <stdbool.h>
#include <stdint.h>

struct session {
    uint64_t number; /* the daemon's */
    uint32_t sector_size;
    bool read_only;
    uint32_t pending; /* calls that are not done */
    uint32_t parked;  /* those of them that wait for others than the daemon */
    char *path;       /* its name in messages */
};

static inline void session_call_began(struct session *session, bool parked)
{
    session->pending++;
    session->parked += parked;
}

static inline void session_call_ended(struct session *session, bool parked)
{
    session->pending--;
    session->parked -= parked;
}

#endif
