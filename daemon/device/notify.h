/* SPDX-License-Identifier: MIT */
/* Events for sessions, left with the device's mutex held, and heeded on each session's own loop
 * (session.h). One that is there already is not left twice. */
#ifndef BLKD_DAEMON_DEVICE_NOTIFY_H
#define BLKD_DAEMON_DEVICE_NOTIFY_H

struct device;
struct session;

enum session_event {
    SESSION_EVENT_RESIZED = 1,
    SESSION_EVENT_SYNC_FAILED = 2,
    SESSION_EVENT_LOCK_BROKEN = 4,
    SESSION_EVENT_LOCK_LOST = 8, /* toward the outside world */
    SESSION_EVENT_EVICTED = 16,  /* it is to be closed */
};

/* Leaves events (of enum session_event) for the session. With the device's mutex held. */
void notify_session(struct session *session, unsigned int events);

/* The same for all sessions of the device but `except` (may be NULL). */
void notify_device(struct device *device, const struct session *except, unsigned int events);

#endif
