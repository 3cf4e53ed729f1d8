/* SPDX-License-Identifier: MIT */
/*
 * See mailbox.h. The event descriptor is written and read under the lock: that keeps it exact, and
 * it lets the owner destroy a box as soon as it has drained the last letter that can come.
 */
#include "daemon/base/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;

    int error = pthread_mutex_init(&box->mutex, NULL);
    if (error != 0) {
        (void)close(fd);
        return -error;
    }

    STAILQ_INIT(&box->queue);
    box->shut = false;
    box->event_fd = fd;
    return 0;
}

void mailbox_deinit(struct mailbox *box)
{
    /* Waits for a poster that is still on its way out of mailbox_post. */
    pthread_mutex_lock(&box->mutex);
    assert(STAILQ_EMPTY(&box->queue));
    pthread_mutex_unlock(&box->mutex);

    pthread_mutex_destroy(&box->mutex);
    (void)close(box->event_fd);
}

static void mailbox_ring(struct mailbox *box)
{
    uint64_t one = 1;
    ssize_t written = write(box->event_fd, &one, sizeof(one));

    /* The counter is 0 here, so that there is nothing to wait for and nothing to overflow. */
    assert(written == sizeof(one));
    (void)written;
}

static void mailbox_unring(struct mailbox *box)
{
    uint64_t count;
    ssize_t got = read(box->event_fd, &count, sizeof(count));

    assert(got == sizeof(count));
    (void)got;
}

static void mailbox_put(struct mailbox *box, struct letter *letter)
{
    if (STAILQ_EMPTY(&box->queue))
        mailbox_ring(box);
    STAILQ_INSERT_TAIL(&box->queue, letter, link);
}

void mailbox_post(struct mailbox *box, struct letter *letter)
{
    pthread_mutex_lock(&box->mutex);
    mailbox_put(box, letter);
    pthread_mutex_unlock(&box->mutex);
}

bool mailbox_try_post(struct mailbox *box, struct letter *letter)
{
    pthread_mutex_lock(&box->mutex);
    bool open = !box->shut;
    if (open)
        mailbox_put(box, letter);
    pthread_mutex_unlock(&box->mutex);
    return open;
}

bool mailbox_shut(struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    box->shut = STAILQ_EMPTY(&box->queue);
    bool is_shut = box->shut;
    pthread_mutex_unlock(&box->mutex);
    return is_shut;
}

int mailbox_fd(const struct mailbox *box)
{
    return box->event_fd;
}

bool mailbox_ready(struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    bool ready = !STAILQ_EMPTY(&box->queue);
    pthread_mutex_unlock(&box->mutex);
    return ready;
}

static void mailbox_take_all(struct mailbox *box, struct letter_queue *taken)
{
    pthread_mutex_lock(&box->mutex);
    if (!STAILQ_EMPTY(&box->queue)) {
        STAILQ_CONCAT(taken, &box->queue);
        mailbox_unring(box);
    }
    pthread_mutex_unlock(&box->mutex);
}

unsigned int mailbox_drain(struct mailbox *box)
{
    struct letter_queue taken = STAILQ_HEAD_INITIALIZER(taken);
    unsigned int delivered = 0;

    mailbox_take_all(box, &taken);
    while (!STAILQ_EMPTY(&taken)) {
        struct letter *letter = STAILQ_FIRST(&taken);

        STAILQ_REMOVE_HEAD(&taken, link);
        letter->deliver(letter);
        delivered++;
    }
    return delivered;
}
