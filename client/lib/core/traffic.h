/* SPDX-License-Identifier: MIT */
/*
 * Both ways to the daemon at once: sending through the ring and the socket, and taking what comes
 * through the ring. Mutex held.
 */
#ifndef BLKD_CLIENT_LIB_CORE_TRAFFIC_H
#define BLKD_CLIENT_LIB_CORE_TRAFFIC_H

struct blkd;

/* Sends what can be sent now. */
void traffic_push(struct blkd *connection);

/* Takes what is complete in the ring, then sends what has waited for that: it may be all that is
 * left to wait for. By the thread that reads, or while nobody reads. */
void traffic_advance(struct blkd *connection);

/* The library is being left: if nobody reads, the daemon is told to wake whoever polls. */
void traffic_rest(struct blkd *connection);

#endif
