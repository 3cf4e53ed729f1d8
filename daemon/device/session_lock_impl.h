/* SPDX-License-Identifier: MIT */
/* A session's lock as such, for session_lock_*.c, which bring it about and end it. All on the
 * session's loop. */
#ifndef BLKD_DAEMON_DEVICE_SESSION_LOCK_IMPL_H
#define BLKD_DAEMON_DEVICE_SESSION_LOCK_IMPL_H

#include "daemon/base/log.h"
#include "daemon/device/happening.h"
#include "daemon/device/session_lock.h"

/* One more in the session's list, not asked for yet. 0, -EDQUOT (the session or its user has too
 * many) or -ENOMEM. */
int session_lock_new(struct session *session, const struct session_lock_ask *ask,
                     struct session_lock **ret_held);

/* It is not the session's any more; the caller frees it. */
void session_lock_forget(struct session_lock *held);

/* The session's lock or request of exactly this range, or NULL. */
struct session_lock *session_lock_find(struct session *session, struct lock_range range);

/* It is held: as long as its connection has such, it has no time limits. */
void session_lock_count(struct session_lock *held);

/* A line in the log; `error`: 0, or why it was refused. */
void session_lock_log(const struct session_lock *held, enum log_level level, const char *event,
                      int error);

/* Those who watch are told. Under the mutexes of the change, where there is one, so that they are
 * told in the order of things. */
void session_lock_tell(const struct session_lock *held, enum happening_what what,
                       enum lock_mode mode);

#endif
