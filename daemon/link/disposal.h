/* SPDX-License-Identifier: MIT */
/*
 * Closing what nobody needs any more, where closing can block: on the helper pool. The worker does
 * not end before it is done.
 */
#ifndef BLKD_DAEMON_LINK_DISPOSAL_H
#define BLKD_DAEMON_LINK_DISPOSAL_H

struct backend;
struct user;
struct worker;

/* Each on the user's share of the pool: a hung file system holds up those who use it. */

/* A peer's descriptor. */
void disposal_descriptor(struct worker *worker, struct user *user, int fd);

/* A backend that no device has. Takes NULL. */
void disposal_backend(struct worker *worker, struct user *user, struct backend *backend);

#endif
