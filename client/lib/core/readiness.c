/* SPDX-License-Identifier: MIT */
/* See readiness.h. */
#include "client/lib/core/readiness.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/standard.h"

void readiness_init(struct readiness *readiness)
{
    *readiness = (struct readiness){.epoll_fd = -1, .event_fd = -1};
}

static int readiness_add(const struct readiness *readiness, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(readiness->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int readiness_open(struct readiness *readiness, int socket)
{
    int r;

    readiness->epoll_fd = standard_lift(epoll_create1(EPOLL_CLOEXEC));
    readiness->event_fd = standard_lift(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (readiness->epoll_fd < 0 || readiness->event_fd < 0)
        return -errno;
    r = readiness_add(readiness, readiness->event_fd);
    return r < 0 ? r : readiness_add(readiness, socket);
}

void readiness_close(const struct readiness *readiness)
{
    if (readiness->epoll_fd >= 0)
        (void)close(readiness->epoll_fd);
    if (readiness->event_fd >= 0)
        (void)close(readiness->event_fd);
}

void readiness_announce(struct readiness *readiness)
{
    if (readiness->announced)
        return;
    readiness->announced = true;
    (void)eventfd_write(readiness->event_fd, 1);
}

void readiness_take_back(struct readiness *readiness)
{
    eventfd_t count;

    if (readiness->announced)
        (void)eventfd_read(readiness->event_fd, &count);
    readiness->announced = false;
}

bool readiness_set_sending(struct readiness *readiness, int socket, bool sending)
{
    struct epoll_event event = {.events = EPOLLIN | (sending ? EPOLLOUT : 0u)};

    if (readiness->sending == sending)
        return false;
    readiness->sending = sending;
    (void)epoll_ctl(readiness->epoll_fd, EPOLL_CTL_MOD, socket, &event);
    return sending;
}

void readiness_drop(const struct readiness *readiness, int socket)
{
    (void)epoll_ctl(readiness->epoll_fd, EPOLL_CTL_DEL, socket, NULL);
}
