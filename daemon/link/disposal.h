/* SPDX-License-Identifier: MIT */
/*
 * Closing what nobody needs any more, where closing can block: on the helper pool. The worker does
 * not end before it is done.
 */
#ifndef BLKD_DAEMON_LINK_DISPOSAL_H
#define BLKD_DAEMON_LINK_DISPOSAL_H

#include <stdbool.h>
#include <sys/types.h>

struct backend;
struct server;
struct user;
struct worker;

/* Each on the user's share of the pool: a hung file system holds up those who use it. */

/* A peer's descriptor. */
void disposal_descriptor(struct worker *worker, struct user *user, int fd);

/* Bytes that were never received may carry descriptors, and closing the last one of a file can
 * block. Nothing more is received from the socket; whether it can be closed at once. */
bool disposal_closes_at_once(int fd);

/* A socket that got no connection: closed at once if it may, else when a helper thread is free.
 * Any thread. */
void disposal_socket(struct server *server, uid_t uid, int fd);

/* Whether so much of the user's waits to be closed that no more of it is taken. Not of root's: root
 * gets in always. Any thread. */
bool disposal_is_crowded(const struct user *user);

/* A backend that no device has. Takes NULL. */
void disposal_backend(struct worker *worker, struct user *user, struct backend *backend);

#endif
