/* SPDX-License-Identifier: MIT */
/*
 * How a connection comes into being: socket, Hello, the daemon's limits. And its end.
 */
#ifndef BLKD_CLIENT_LIB_API_CONNECT_H
#define BLKD_CLIENT_LIB_API_CONNECT_H

struct blkd;

/* Frees a connection on which no call is left. */
void connect_free(struct blkd *connection);

void connect_close_descriptors(const struct blkd *connection);

#endif
