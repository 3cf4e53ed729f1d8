/* SPDX-License-Identifier: MIT */
/*
 * The descriptor that the program polls (blkd_get_fd). It is readable while the socket has
 * something to read, or room for what is still to be sent, and while callbacks wait to be run.
 */
#ifndef BLKD_CLIENT_LIB_CORE_READINESS_H
#define BLKD_CLIENT_LIB_CORE_READINESS_H

#include <stdbool.h>

/* Under the connection's mutex; the descriptors are constant. */
struct readiness {
    int epoll_fd; /* what the program polls: holds the socket and event_fd */
    int event_fd; /* readable while `announced` */
    bool announced;
    bool sending; /* the socket was full: room in it counts */
};

/* No descriptors yet. */
void readiness_init(struct readiness *readiness);
/* 0 or a negative errno; what is open then is closed by readiness_close. */
int readiness_open(struct readiness *readiness, int socket);
void readiness_close(const struct readiness *readiness);

/* Callbacks wait to be run, or none do any more. */
void readiness_announce(struct readiness *readiness);
void readiness_take_back(struct readiness *readiness);

/* Whether room in the socket counts. True: that is new, who polls the socket should know. */
bool readiness_set_sending(struct readiness *readiness, int socket, bool sending);

/* The socket is of no more use. */
void readiness_drop(const struct readiness *readiness, int socket);

#endif
