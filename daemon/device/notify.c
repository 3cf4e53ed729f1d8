/* SPDX-License-Identifier: MIT */
#include "daemon/device/notify.h"

#include "daemon/device/session.h"

void notify_session(struct session *session, unsigned int events)
{
    session->news.events |= events;
    if (session->news.posted)
        return;
    session->news.posted = true;
    loop_post(&session->client.loop->base, &session->news.letter);
}

void notify_device(struct device *device, const struct session *except, unsigned int events)
{
    struct session *session = NULL;
    TAILQ_FOREACH (session, &device->sessions, device_link) {
        if (session != except)
            notify_session(session, events);
    }
}
